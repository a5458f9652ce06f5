using System.Globalization;

namespace ScratchMamba.Training;

/// <summary>How often a training is saved: after so many steps, or after so much time.</summary>
/// <param name="Steps">The number of steps; 0 for none.</param>
/// <param name="Time">The time; zero for none.</param>
public readonly record struct SaveInterval(long Steps, TimeSpan Time)
{
    /// <summary>At the end only.</summary>
    public static SaveInterval Never => default;

    /// <summary>Whether there is anything but the end.</summary>
    public bool IsNever => this == Never;

    /// <summary>Whether a checkpoint is due.</summary>
    public bool IsDue(long step, TimeSpan sinceLast) => (Steps > 0 && step % Steps == 0) || (Time > TimeSpan.Zero && sinceLast >= Time);

    /// <summary>Reads <c>100</c> (steps), <c>90s</c>, <c>10m</c> or <c>2h</c>.</summary>
    public static bool TryParse(string text, out SaveInterval interval)
    {
        interval = Never;
        double seconds = text.Length == 0 ? 0 : text[^1] switch { 's' => 1, 'm' => 60, 'h' => 3600, _ => 0 };
        if (!long.TryParse(seconds > 0 ? text[..^1] : text, NumberStyles.None, CultureInfo.InvariantCulture, out long count) || count * seconds > int.MaxValue)
            return false;
        interval = seconds > 0 ? new SaveInterval(0, TimeSpan.FromSeconds(count * seconds)) : new SaveInterval(count, TimeSpan.Zero);
        return true;
    }
}
