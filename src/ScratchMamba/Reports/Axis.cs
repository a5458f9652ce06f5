namespace ScratchMamba.Reports;

/// <summary>How an axis maps numbers to places.</summary>
public enum Scale
{
    /// <summary>Equal steps.</summary>
    Linear,

    /// <summary>Equal ratios, with ticks at powers of ten.</summary>
    Log10,

    /// <summary>Equal ratios, with ticks at powers of two; thousands are 1024: for lengths.</summary>
    Log2,
}

/// <summary>An axis of a chart.</summary>
/// <param name="Label">What it measures, with the unit.</param>
/// <param name="Scale">How it maps numbers to places.</param>
/// <param name="Min">Where it begins; by default as far as the data go.</param>
/// <param name="Max">Where it ends; by default as far as the data go.</param>
public sealed record Axis(string Label, Scale Scale = Scale.Linear, double? Min = null, double? Max = null)
{
    private const double TargetTicks = 6;

    internal AxisInUse Over(IEnumerable<double> data)
    {
        double[] shown = [.. data.Where(value => double.IsFinite(value) && (Scale == Scale.Linear || value > 0))];
        double low = Min ?? (shown.Length > 0 ? shown.Min() : Scale == Scale.Linear ? 0 : 1), high = Max ?? (shown.Length > 0 ? shown.Max() : 2);
        if (Scale != Scale.Linear)
        {
            double factor = Scale == Scale.Log2 ? 2 : 10;
            if (high <= low)
                (low, high) = (low / factor, high * factor);
            return new AxisInUse(this, low, high, LogTicks(low, high, factor));
        }
        if (high <= low)
            (low, high) = (low - 0.5, high + 0.5);
        double step = NiceStep((high - low) / TargetTicks);
        // What begins near zero begins at zero; the ends are ticks.
        if (Min is null)
            low = low > 0 && low < 0.4 * high ? 0 : Math.Floor(low / step) * step;
        if (Max is null)
            high = Math.Ceiling(high / step) * step;
        var ticks = new List<(double, string)>();
        for (double tick = Math.Ceiling(low / step - 1e-9); tick <= high / step + 1e-9; tick++)
            ticks.Add((tick * step, Number(tick * step, step)));
        return new AxisInUse(this, low, high, ticks);
    }

    private List<(double, string)> LogTicks(double low, double high, double factor)
    {
        int first = (int)Math.Ceiling(Math.Log(low, factor) - 1e-9), last = (int)Math.Floor(Math.Log(high, factor) + 1e-9);
        int every = Math.Max(1, (int)Math.Ceiling((last - first + 1) / 9.0));
        var ticks = new List<(double, string)>();
        for (int power = first; power <= last; power++)
        {
            double value = Math.Pow(factor, power);
            ticks.Add((value, (power - first) % every != 0 ? "" : Scale == Scale.Log2 ? Length(value) : Number(value, value)));
        }
        // Less than two powers: the ends themselves, so that the scale can be read.
        if (ticks.Count < 2)
            ticks = [(low, Number(low, low / 10)), (high, Number(high, high / 10))];
        return ticks;
    }

    /// <summary>A length with K for 1024 and M for 1024².</summary>
    internal static string Length(double value) => value switch
    {
        >= 1 << 20 => $"{value / (1 << 20):0.##}M",
        >= 1 << 10 => $"{value / (1 << 10):0.##}K",
        _ => $"{value:0.###}",
    };

    private static string Number(double value, double step)
    {
        if (Math.Abs(value) < step * 1e-9)
            return "0";
        if (Math.Abs(value) is >= 1e5 or < 1e-3)
        {
            int exponent = (int)Math.Floor(Math.Log10(Math.Abs(value)) + 1e-9);
            double mantissa = value / Math.Pow(10, exponent);
            string power = "10" + string.Concat(exponent.ToString().Select(c => c == '-' ? '⁻' : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c - '0']));
            return Math.Abs(mantissa - 1) < 1e-9 ? power : $"{mantissa:0.##}·{power}";
        }
        int decimals = Math.Max(0, -(int)Math.Floor(Math.Log10(step) + 1e-9));
        return value.ToString("F" + Math.Min(decimals, 6)).Replace('-', '−');
    }

    private static double NiceStep(double rough)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(rough))), mantissa = rough / power;
        return power * (mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10);
    }
}

/// <summary>An axis with its ends and ticks.</summary>
internal sealed record AxisInUse(Axis Axis, double Low, double High, IReadOnlyList<(double Value, string Label)> Ticks)
{
    /// <summary>The place of a value: 0 at the axis's beginning, 1 at its end; values outside are moved to the ends.</summary>
    public double Place(double value) => Axis.Scale == Scale.Linear
        ? Math.Clamp((value - Low) / (High - Low), 0, 1)
        : Math.Clamp(Math.Log(Math.Max(value, Low) / Low) / Math.Log(High / Low), 0, 1);
}
