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
    private int depth;

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

    [GeneratedRegex(@"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", RegexOptions.Singleline)]
    private static partial Regex Tag();
}
