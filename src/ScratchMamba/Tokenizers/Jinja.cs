using System.Text;
using System.Text.RegularExpressions;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// The part of Jinja that chat templates of the common kinds use: text, <c>{{ … }}</c>, <c>for</c>, <c>if</c>, <c>set</c>; members, items, slices from a number on, <c>+ ~ %</c>, comparisons,
/// <c>and or not in</c>, <c>is defined</c>; the filters trim, length, upper and lower; <c>raise_exception</c>. Blocks are trimmed as transformers does. Anything else is refused by name.
/// </summary>
internal sealed partial class Jinja
{
    // Templates come from files: these bound what one can cost.
    private const int MostLength = 1 << 16, MostDepth = 64, MostSteps = 1_000_000, MostCharacters = 1 << 22;

    private delegate object? Expression(Run run);

    private delegate void Statement(Run run);

    private readonly List<(char Kind, string Text)> parts = [];
    private readonly Statement body;
    private int at;
    private List<string> words = [];
    private int word, depth;

    public Jinja(string template)
    {
        if (template.Length > MostLength)
            throw new FormatException($"it is longer than {MostLength} characters");
        Divide(template);
        body = Block();
    }

    public string Render(IReadOnlyDictionary<string, object?> values)
    {
        var run = new Run(new Dictionary<string, object?>(values));
        body(run);
        return run.Output.ToString();
    }

    private sealed class Run(Dictionary<string, object?> values)
    {
        private int steps;

        public Dictionary<string, object?> Values => values;

        public StringBuilder Output { get; } = new();

        public void Count()
        {
            if (++steps > MostSteps || Output.Length > MostCharacters)
                throw new FormatException("it does not come to an end");
        }
    }

    /// <summary>Divides a template at its tags: '{' for an expression, '%' for a statement, ' ' for text.</summary>
    private void Divide(string template)
    {
        int position = 0;
        bool trims = false, skipsLine = false, beginsLine = true;
        foreach (Match tag in Tag().Matches(template))
        {
            char kind = tag.Value[1];
            string inside = tag.Value[2..^2];
            Text(template[position..tag.Index], inside.StartsWith('-') || inside.StartsWith('+') ? inside[0] : kind == '{' ? ' ' : '%');
            position = tag.Index + tag.Length;
            trims = inside.EndsWith('-');
            skipsLine = kind != '{' && !inside.EndsWith('+');
            if (kind != '#')
                parts.Add((kind, inside.Trim('-', '+').Trim()));
        }
        Text(template[position..], ' ');

        void Text(string text, char before)
        {
            int newline = text.StartsWith("\r\n", StringComparison.Ordinal) ? 2 : text.StartsWith('\n') ? 1 : 0;
            beginsLine |= skipsLine && newline > 0;
            text = trims ? text.TrimStart() : skipsLine ? text[newline..] : text;
            if (before == '-')
                text = text.TrimEnd();
            else if (before == '%' && text.TrimEnd(' ', '\t') is var kept && (kept.Length == 0 ? beginsLine : kept[^1] == '\n'))
                text = kept;
            beginsLine = false;
            if (text.Length > 0)
                parts.Add((' ', text));
        }
    }

    private Statement Block(params string[] ends)
    {
        if (++depth > MostDepth)
            throw new FormatException("it is nested too deeply");
        var statements = new List<Statement>();
        for (; at < parts.Count; at++)
        {
            (char kind, string text) = parts[at];
            if (kind == ' ')
            {
                statements.Add(run => run.Output.Append(text));
                continue;
            }
            Begin(text);
            if (kind == '{')
            {
                Expression value = Whole();
                statements.Add(run => run.Output.Append(Shown(value(run))));
                continue;
            }
            if (ends.Contains(words[0]))
                break;
            statements.Add(Take() switch
            {
                "for" => For(),
                "if" => If(),
                "set" => Set(),
                "endfor" or "endif" or "else" or "elif" => throw new FormatException($"there is an '{words[0]}' where none is open"),
                var other => throw new FormatException($"'{other}' is not supported"),
            });
        }
        depth--;
        return run =>
        {
            run.Count();
            foreach (Statement statement in statements)
                statement(run);
        };
    }

    private Statement For()
    {
        string name = Take();
        Expect("in");
        Expression list = Whole();
        at++;
        Statement inside = Block("endfor");
        RequireEnd("endfor");
        return run =>
        {
            if (list(run) is not object?[] items)
                throw new FormatException("it loops over what is no list");
            object? outer = run.Values.GetValueOrDefault("loop");
            for (int i = 0; i < items.Length; i++)
            {
                run.Values[name] = items[i];
                run.Values["loop"] = new Dictionary<string, object?>
                {
                    ["index0"] = (long)i, ["index"] = i + 1L, ["first"] = i == 0, ["last"] = i == items.Length - 1, ["length"] = (long)items.Length,
                };
                inside(run);
            }
            run.Values["loop"] = outer;
        };
    }

    private Statement If()
    {
        var branches = new List<(Expression Condition, Statement Body)>();
        Expression condition = Whole();
        while (true)
        {
            at++;
            branches.Add((condition, Block("elif", "else", "endif")));
            if (at == parts.Count || words[0] == "endif")
                break;
            bool isElse = Take() == "else";
            condition = isElse ? _ => true : Whole();
        }
        RequireEnd("endif");
        return run =>
        {
            foreach ((Expression holds, Statement then) in branches)
            {
                if (!IsTrue(holds(run)))
                    continue;
                then(run);
                return;
            }
        };
    }

    private Statement Set()
    {
        string name = Take();
        Expect("=");
        Expression value = Whole();
        return run => run.Values[name] = value(run);
    }

    private void RequireEnd(string end)
    {
        if (at == parts.Count || words[0] != end)
            throw new FormatException($"an '{end}' is missing");
    }

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
        long number => number.ToString(System.Globalization.CultureInfo.InvariantCulture),
        _ => throw new FormatException("a list or an object is shown as text"),
    };

    [GeneratedRegex(@"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", RegexOptions.Singleline)]
    private static partial Regex Tag();

    [GeneratedRegex(@"'(?:[^'\\]|\\.)*'|""(?:[^""\\]|\\.)*""|\w+|==|!=|<=|>=|\S", RegexOptions.Singleline)]
    private static partial Regex Word();
}
