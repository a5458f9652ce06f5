using System.Buffers;
using System.Globalization;
using System.Text;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// Unicode's normalisation form C: canonical decomposition, marks in canonical order, canonical composition.
/// Bytes that are not UTF-8 stay as they are. Source: Unicode Standard Annex 15.
/// </summary>
/// <remarks>The runtime's own normalisation does nothing where it runs without ICU, as this library must be able to.</remarks>
internal static class Composition
{
    // Nothing below this code point changes, and nothing below it is a mark.
    private const int FirstMark = 0x300;

    // Hangul syllables are composed by arithmetic.
    private const int Syllables = 0xAC00, Leads = 0x1100, Vowels = 0x1161, Tails = 0x11A7, VowelCount = 21, TailCount = 28, LeadCount = 19;

    private static readonly Lazy<(Dictionary<int, (int, int)> Parts, Dictionary<(int, int), int> Wholes, Dictionary<int, byte> Classes)> Tables = new(ReadTables);

    /// <summary>The text in form C.</summary>
    public static byte[] Compose(ReadOnlySpan<byte> text)
    {
        // In UTF-8 the code points from U+0300 on begin with 0xCC or a higher byte.
        if (text.IndexOfAnyInRange((byte)0xCC, (byte)0xFF) < 0)
            return text.ToArray();
        var points = new List<int>(text.Length);
        while (!text.IsEmpty)
        {
            if (Rune.DecodeFromUtf8(text, out Rune rune, out int length) == OperationStatus.Done)
            {
                Decompose(rune.Value, points);
            }
            else
            {
                // Bytes that are no text are kept as negative numbers, which nothing composes with.
                foreach (byte value in text[..length])
                    points.Add(~value);
            }
            text = text[length..];
        }
        Order(points);
        Compose(points);
        var result = new ArrayBufferWriter<byte>(points.Count);
        foreach (int point in points)
        {
            if (point < 0)
                result.Write([(byte)~point]);
            else
                result.Advance(new Rune(point).EncodeToUtf8(result.GetSpan(4)));
        }
        return result.WrittenSpan.ToArray();
    }

    private static void Decompose(int point, List<int> into)
    {
        int syllable = point - Syllables;
        if (syllable is >= 0 and < LeadCount * VowelCount * TailCount)
        {
            into.Add(Leads + syllable / (VowelCount * TailCount));
            into.Add(Vowels + syllable / TailCount % VowelCount);
            if (syllable % TailCount > 0)
                into.Add(Tails + syllable % TailCount);
        }
        else if (point >= 0xC0 && Tables.Value.Parts.TryGetValue(point, out (int First, int Second) parts))
        {
            Decompose(parts.First, into);
            if (parts.Second != 0)
                Decompose(parts.Second, into);
        }
        else
        {
            into.Add(point);
        }
    }

    /// <summary>Sorts each run of marks by their classes, and marks of one class not at all.</summary>
    private static void Order(List<int> points)
    {
        for (int start = 0; start < points.Count; start++)
        {
            if (ClassOf(points[start]) == 0)
                continue;
            int end = start;
            while (end < points.Count && ClassOf(points[end]) > 0)
                end++;
            if (end - start > 1)
            {
                int[] sorted = [.. points.GetRange(start, end - start).OrderBy(ClassOf)];
                for (int i = 0; i < sorted.Length; i++)
                    points[start + i] = sorted[i];
            }
            start = end;
        }
    }

    private static void Compose(List<int> points)
    {
        int starter = -1, kept = 0, lastClass = 0;
        for (int i = 0; i < points.Count; i++)
        {
            int point = points[i], itsClass = ClassOf(point);
            // A mark composes unless one of its own or a higher class, or a character that is no mark, stands between.
            bool blocked = kept - 1 > starter && (lastClass == 0 || lastClass >= itsClass);
            if (starter >= 0 && !blocked && Pair(points[starter], point) is { } whole)
            {
                points[starter] = whole;
                continue;
            }
            if (itsClass == 0)
                starter = kept;
            lastClass = itsClass;
            points[kept++] = point;
        }
        points.RemoveRange(kept, points.Count - kept);
    }

    private static int? Pair(int first, int second)
    {
        if (first is >= Leads and < Leads + LeadCount && second is >= Vowels and < Vowels + VowelCount)
            return Syllables + ((first - Leads) * VowelCount + second - Vowels) * TailCount;
        int syllable = first - Syllables;
        if (syllable is >= 0 and < LeadCount * VowelCount * TailCount && syllable % TailCount == 0 && second is > Tails and < Tails + TailCount)
            return first + second - Tails;
        return Tables.Value.Wholes.TryGetValue((first, second), out int whole) ? whole : null;
    }

    private static byte ClassOf(int point) => point >= FirstMark && Tables.Value.Classes.TryGetValue(point, out byte value) ? value : (byte)0;

    /// <summary>Reads composition.txt; tools/unicode/generate says what its lines mean.</summary>
    private static (Dictionary<int, (int, int)>, Dictionary<(int, int), int>, Dictionary<int, byte>) ReadTables()
    {
        var parts = new Dictionary<int, (int, int)>();
        var wholes = new Dictionary<(int, int), int>();
        var classes = new Dictionary<int, byte>();
        using Stream stream = typeof(Composition).Assembly.GetManifestResourceStream("composition.txt")!;
        using var reader = new StreamReader(stream);
        while (reader.ReadLine() is { } line)
        {
            if (line.StartsWith('#'))
                continue;
            string[] words = line.TrimStart('@').Split(' ');
            int[] numbers = [.. words.Where(word => word != "-").Select(word => int.Parse(word, NumberStyles.HexNumber))];
            if (line[0] == '@')
            {
                for (int point = numbers[0]; point <= numbers[1]; point++)
                    classes.Add(point, (byte)numbers[2]);
                continue;
            }
            int second = numbers.Length > 2 ? numbers[2] : 0;
            parts.Add(numbers[0], (numbers[1], second));
            if (words[1] != "-")
                wholes.Add((numbers[1], second), numbers[0]);
        }
        return (parts, wholes, classes);
    }
}
