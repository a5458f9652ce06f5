using System.Globalization;
using System.Text.RegularExpressions;

namespace ScratchMamba.Tokenizers;

/// <summary>What stands inside the tags of a template, by descent: each method takes what binds tighter from the next.</summary>
internal sealed partial class Jinja
{
    private List<string> words = [];
    private int word;

    private void Begin(string text)
    {
        words = [.. Word().Matches(text).Select(match => match.Value)];
        word = 0;
        if (words.Count == 0)
            throw new FormatException("a tag is empty");
    }

    private string Peek => word < words.Count ? words[word] : "";

    private string Take() => word < words.Count ? words[word++] : throw new FormatException("a tag ends too early");

    private bool Takes(string expected)
    {
        if (Peek != expected)
            return false;
        word++;
        return true;
    }

    private void Expect(string expected)
    {
        if (!Takes(expected))
            throw new FormatException($"'{expected}' is expected where there is '{Peek}'");
    }

    private Expression Whole()
    {
        Expression value = Or();
        return word == words.Count ? value : throw new FormatException($"'{Peek}' is not supported");
    }

    private Expression Or()
    {
        if (++depth > MostDepth)
            throw new FormatException("it is nested too deeply");
        Expression left = And();
        while (Takes("or"))
        {
            Expression first = left, second = And();
            left = run => first(run) is var value && IsTrue(value) ? value : second(run);
        }
        depth--;
        return left;
    }

    private Expression And()
    {
        Expression left = Not();
        while (Takes("and"))
        {
            Expression first = left, second = Not();
            left = run => first(run) is var value && !IsTrue(value) ? value : second(run);
        }
        return left;
    }

    private Expression Not()
    {
        bool negates = false;
        while (Takes("not"))
            negates = !negates;
        Expression value = Comparison();
        return negates ? run => !IsTrue(value(run)) : value;
    }

    private Expression Comparison()
    {
        Expression left = Sum();
        while (true)
        {
            Expression first = left;
            if (Takes("is"))
            {
                bool negates = Takes("not");
                Expect("defined");
                left = run => first(run) is null == negates;
                continue;
            }
            bool isNegated = Takes("!=");
            if (isNegated || Takes("=="))
            {
                Expression second = Sum();
                left = run => Equals(first(run), second(run)) != isNegated;
                continue;
            }
            isNegated = Takes("not");
            if (isNegated)
                Expect("in");
            if (!isNegated && !Takes("in"))
                return left;
            Expression whole = Sum();
            left = run => whole(run) switch
            {
                string text => text.Contains(Shown(first(run)), StringComparison.Ordinal),
                object?[] items => items.Contains(first(run)),
                Dictionary<string, object?> members => members.ContainsKey(Shown(first(run))),
                _ => false,
            } != isNegated;
        }
    }

    private Expression Sum()
    {
        Expression left = Filtered();
        while (Peek is "+" or "~" or "%")
        {
            string sign = Take();
            Expression first = left, second = Filtered();
            left = run => (sign, first(run), second(run)) switch
            {
                ("%", long a, long b) when b != 0 => (a % b + b) % b,
                ("+", long a, long b) => a + b,
                ("+", string a, string b) => Joined(a, b),
                ("~", var a, var b) => Joined(Shown(a), Shown(b)),
                _ => throw new FormatException($"'{sign}' is used with what it does not go with"),
            };
        }
        return left;
    }

    private Expression Filtered()
    {
        Expression left = Item();
        while (Takes("|"))
        {
            Expression value = left;
            left = Take() switch
            {
                "trim" => run => Shown(value(run)).Trim(),
                "upper" => run => Shown(value(run)).ToUpperInvariant(),
                "lower" => run => Shown(value(run)).ToLowerInvariant(),
                "length" => run => value(run) is object?[] items ? (long)items.Length : Shown(value(run)).Length,
                var filter => throw new FormatException($"the filter '{filter}' is not supported"),
            };
        }
        return left;
    }

    private Expression Item()
    {
        Expression left = Atom();
        while (true)
        {
            Expression whole = left;
            if (Takes("."))
            {
                string name = Take();
                if (Takes("("))
                {
                    Expect(")");
                    if (name != "strip")
                        throw new FormatException($"'{name}()' is not supported");
                    left = run => Shown(whole(run)).Trim();
                    continue;
                }
                left = run => Member(whole(run), name);
                continue;
            }
            if (!Takes("["))
                return left;
            Expression index = Or();
            if (Takes(":"))
                left = run => whole(run) is object?[] items && index(run) is long start and >= 0 ? items[(int)Math.Min(start, items.Length)..] : null;
            else
                left = run => Member(whole(run), index(run));
            Expect("]");
        }
    }

    private Expression Atom()
    {
        string text = Take();
        if (text == "(")
        {
            Expression inside = Or();
            Expect(")");
            return inside;
        }
        if (text[0] is '\'' or '"')
        {
            string value = text[1..^1].Replace("\\n", "\n").Replace("\\'", "'").Replace("\\\"", "\"").Replace("\\\\", "\\");
            return _ => value;
        }
        if (text == "-" && long.TryParse(Peek, out long negative))
        {
            word++;
            return _ => -negative;
        }
        if (long.TryParse(text, out long number))
            return _ => number;
        if (!char.IsLetter(text[0]) && text[0] != '_')
            throw new FormatException($"'{text}' is not supported");
        if (Takes("("))
        {
            if (text != "raise_exception")
                throw new FormatException($"'{text}()' is not supported");
            Expression message = Or();
            Expect(")");
            return run => throw new FormatException($"it refuses these messages: {Shown(message(run))}");
        }
        return text switch
        {
            "true" or "True" => _ => true,
            "false" or "False" => _ => false,
            "none" or "None" => _ => null,
            _ => run => run.Values.GetValueOrDefault(text),
        };
    }

    private static object? Member(object? whole, object? name) => (whole, name) switch
    {
        (Dictionary<string, object?> members, string key) => members.GetValueOrDefault(key),
        (object?[] items, long index) => index >= -items.Length && index < items.Length ? items[index < 0 ? items.Length + index : index] : null,
        _ => null,
    };

    private static bool IsTrue(object? value) => value switch
    {
        null or false or "" or 0L => false,
        object?[] items => items.Length > 0,
        _ => true,
    };

    private static string Joined(string first, string second) => (long)first.Length + second.Length <= MostCharacters ? first + second : throw new FormatException("it does not come to an end");

    private static string Shown(object? value) => value switch
    {
        null => "",
        string text => text,
        bool flag => flag ? "True" : "False",
        long number => number.ToString(CultureInfo.InvariantCulture),
        _ => throw new FormatException("a list or an object is shown as text"),
    };

    [GeneratedRegex(@"'(?:[^'\\]|\\.)*'|""(?:[^""\\]|\\.)*""|\w+|==|!=|<=|>=|\S", RegexOptions.Singleline)]
    private static partial Regex Word();
}
