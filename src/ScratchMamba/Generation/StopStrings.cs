using System.Text;

namespace ScratchMamba.Generation;

/// <summary>Ends a text before the first of given strings to be complete, wherever tokens end: what may become one of them is held back until it is known.</summary>
/// <param name="stops">The strings, none of them empty.</param>
public sealed class StopStrings(IReadOnlyList<string> stops)
{
    private readonly StringBuilder held = new();

    /// <summary>Whether one of the strings has been seen. Nothing comes out from then on.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>The part of the text so far that can be shown, and has not been.</summary>
    public string Append(string text)
    {
        if (IsStopped)
            return "";
        if (stops.Count == 0)
            return text;
        string all = held.Append(text).ToString();
        held.Clear();
        // The one that is complete first, as if characters came one by one.
        (int Place, int End)[] found = [.. stops.Select(stop => (Place: all.IndexOf(stop, StringComparison.Ordinal), stop.Length)).Where(stop => stop.Place >= 0).Select(stop => (stop.Place, stop.Place + stop.Length))];
        if (found.Length > 0)
        {
            IsStopped = true;
            return all[..found.MinBy(stop => (stop.End, stop.Place)).Place];
        }
        int kept = stops.Max(stop => BeginsAtEnd(all, stop));
        held.Append(all, all.Length - kept, kept);
        return all[..^kept];
    }

    /// <summary>What was held back, now that the text has ended.</summary>
    public string Finish()
    {
        string rest = held.ToString();
        held.Clear();
        return rest;
    }

    /// <summary>The length of the longest end of the text that a string begins with.</summary>
    private static int BeginsAtEnd(string text, string stop)
    {
        for (int length = Math.Min(stop.Length - 1, text.Length); length > 0; length--)
        {
            if (text.AsSpan(text.Length - length).SequenceEqual(stop.AsSpan(0, length)))
                return length;
        }
        return 0;
    }
}
