using System.Globalization;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>The text form of a <see cref="Cure"/>: settings separated by commas, each a name, =, and a value.</summary>
public static class CureText
{
    private const string None = "none";

    /// <summary>The settings: name, form of the value, and meaning.</summary>
    public static IReadOnlyList<(string Name, string Form, string Meaning)> Settings { get; } =
    [
        ("retention", "M", "the state keeps M of what it would keep, 0 < M ≤ 1, at every token"),
        ("insertion", "M", "a token writes M times what it would write"),
        ("step", "C", "time steps are C times as long: a smaller C keeps more and writes less"),
        ("decay", "S", "decay rates are S times as large: a larger S forgets faster and writes the same"),
        ("norm", "CAP[x][@K]", "states are scaled down to the norm CAP, or with x to CAP times the norm in the calibration text, after every token or every K"),
        ("window", "R", "states hold what the last R tokens wrote, exactly"),
        ("filter", "L[:T]", "heads that retain more than T (0.05) skip the tokens with small time steps, for texts of L tokens; needs a calibration text"),
        ("reset", "R", "the state is emptied every R tokens"),
        ("stagger", "R", "two states are emptied every R tokens, half a period apart; the older is read"),
    ];

    /// <summary>Reads the text form; see <see cref="Cure.Parse"/>.</summary>
    public static Cure Parse(string text)
    {
        var cure = Cure.None;
        if (text.Trim() == None)
            return cure;
        var seen = new HashSet<string>();
        foreach (string setting in text.Split(','))
        {
            string[] parts = setting.Split('=', 2, StringSplitOptions.TrimEntries);
            string name = parts[0];
            if (!Settings.Any(known => known.Name == name))
                throw new FormatException($"There is no cure '{name}'; there are {string.Join(", ", Settings.Select(known => known.Name))}, and none.");
            if (parts.Length < 2 || parts[1].Length == 0)
                throw Malformed(name, parts.Length < 2 ? "" : parts[1]);
            if (!seen.Add(name))
                throw new FormatException($"The cure '{name}' is given twice.");
            cure = With(cure, name, parts[1]);
        }
        return cure;
    }

    /// <summary>The text form; see <see cref="Cure.ToString"/>.</summary>
    public static string Format(Cure cure)
    {
        var settings = new List<string>();
        Factor("retention", cure.Retention);
        Factor("insertion", cure.Insertion);
        Factor("step", cure.TimeStep);
        Factor("decay", cure.Decay);
        if (cure.Normalization is { } norm)
            settings.Add(FormattableString.Invariant($"norm={norm.Cap:R}") + (norm.IsRelative ? "x" : "") + (norm.Period > 1 ? $"@{norm.Period}" : ""));
        Count("window", cure.Window);
        if (cure.Filter is { } filter)
            settings.Add($"filter={filter.TargetLength}" + (filter.GlobalRetention == TokenFilter.DefaultGlobalRetention ? "" : FormattableString.Invariant($":{filter.GlobalRetention:R}")));
        Count("reset", cure.Reset);
        Count("stagger", cure.Stagger);
        return settings.Count == 0 ? None : string.Join(',', settings);

        void Factor(string name, PerLayer value)
        {
            if (!value.IsNeutral)
                settings.Add($"{name}={value}");
        }

        void Count(string name, int value)
        {
            if (value > 0)
                settings.Add($"{name}={value}");
        }
    }

    private static Cure With(Cure cure, string name, string value) => name switch
    {
        "retention" => cure with { Retention = Factors(name, value) },
        "insertion" => cure with { Insertion = Factors(name, value) },
        "step" => cure with { TimeStep = Factors(name, value) },
        "decay" => cure with { Decay = Factors(name, value) },
        "norm" => cure with { Normalization = Norm(name, value) },
        "window" => cure with { Window = Tokens(name, value, value) },
        "filter" => cure with { Filter = Filter(name, value) },
        "reset" => cure with { Reset = Tokens(name, value, value) },
        _ => cure with { Stagger = Tokens(name, value, value) },
    };

    private static PerLayer Factors(string name, string value) => PerLayer.Create(Array.ConvertAll(value.Split('/'), part => Number(name, part, value)));

    private static StateNormalization Norm(string name, string value)
    {
        string[] parts = value.Split('@', 2);
        bool relative = parts[0].EndsWith('x');
        return new StateNormalization(Number(name, relative ? parts[0][..^1] : parts[0], value), relative, parts.Length == 1 ? 1 : Tokens(name, parts[1], value));
    }

    private static TokenFilter Filter(string name, string value)
    {
        string[] parts = value.Split(':', 2);
        int length = Tokens(name, parts[0], value);
        return parts.Length == 1 ? new TokenFilter(length) : new TokenFilter(length, Number(name, parts[1], value));
    }

    private static double Number(string name, string part, string value) =>
        double.TryParse(part, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out double number)
        && double.IsFinite(number) ? number : throw Malformed(name, value);

    private static int Tokens(string name, string part, string value) =>
        int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number > 0 ? number : throw Malformed(name, value);

    private static FormatException Malformed(string name, string value)
    {
        (_, string form, string meaning) = Settings.First(known => known.Name == name);
        return new FormatException($"The cure '{name}' is written {name}={form}: {meaning}; its value is '{value}'.");
    }
}
