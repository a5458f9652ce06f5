using System.Text;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies.Data;

/// <summary>
/// Passages, one after another, with long-range structure: names are given values in one of many ways somewhere among lines that say nothing of them, and asked for in other ways at the end.
/// The lines are text, or sentences of its words that are repeated. Lengths are log-uniform, places uniform. No line of <see cref="TextPasskey"/> is ever among them.
/// Scored are the values where they are asked for, and where they are told a second time.
/// </summary>
/// <example>
/// Passages of up to 150 bytes, seed 1, document 3:
/// <code>
/// M u c h ␣ o f ␣ t h e ␣ f o l ⏎ Y o u r ␣ d i s s o l v e ␣ = ␣ 4 4 . ⏎ A ␣ b a n d s ␣ a m o n g ␣ s t a y s ␣ 6 2 0 0 6 7 . ⏎ t h i s ␣ b a n d s ␣ a m o n g ␣ m u s t ␣ b e ␣* 6* 2* 0* 0* 6* 7* . ⏎ t h a t ␣ d i s s o l v e ␣ e q u a l s ␣* 4* 4* . ⏎
/// </code>
/// </example>
public sealed class RecordDocuments : TokenizedDocuments
{
    // What is told and asked for once has room in the shortest of the shortest.
    private const int Shortest = 96, Least = 64, MostRecords = 4, Roomy = 250;

    // What tells {n} its value {v}, and what asks for it. A value follows a space, so that the space after a question is known too. Sentences begin neither "The … is" nor "What is".
    private static readonly string[] Telling =
    [
        "{n}: {v}", "{n} = {v};", "{n} -> {v}.", "Let {n} be {v}.", "Our {n} is {v}.", "Set the {n} to {v}.", "They named the {n} {v} then.", "\"{n}\": {v},", "Take {v} for the {n}.", "All read {v} as their {n}.",
        "My {n} was {v}, yes, {v}.", "A new {n} is {v} ( {v} ).", "{n}, that is {v}; so {v} for all.", "Write {v} down: {n} {v}.", "His {n} is {v} and stays {v}.",
    ];

    private static readonly string[] Asking =
        ["{n}:", "{n} =", "{n} ->", "our {n} is", "So our {n} is", "My {n} was", "Say {n} again:", "Which {n}?", "The {n}, once more:", "and {n} equals", "Tell us the {n}. It was", "\"{n}\":"];

    // What may stand before and after what is told, and say it again; what asks, before it is asked so that only the value is missing; what may begin a passage.
    private static readonly string[]
        Before = ["Please note.", "Listen.", "Now this.", "Attention!", "One thing more.", "Mind you:", "By the way,", "It matters that you read on."],
        After = ["Keep it.", "Do not forget.", "Mark it well.", "Hold on to this.", "You need it later.", "So much for that.", "Never lose it.", "Bear this in mind."],
        Again = ["{v} is our {n}.", "So {n} = {v}.", "It is {v}, this {n}.", "Again: {v}.", "Once more: {v} for {n}.", "{v} was the {n}.", "Yes, {v}.", "{v} stays the {n}, {v}."],
        Questions = ["Which {n}?", "Do you know the {n}?", "And the {n}, what was it?", "Can you say the {n}?", "Who knows our {n}?", "Now the question: {n}?", "How did the {n} read?", "Now give the {n}.", "Tell me the {n} that you read.", "Where did you see {n}, and what did it say?"],
        Answers = ["It is", "It was", "The {n}:", "Our {n} is", "My {n} was", "{n}:", "Answer:", "It must be", "This {n} is", "I say", "The {n} read", "That {n} was", "{n} is", "It says that {n} is"],
        Openings =
        [
            "Read this with care; you are asked for some of it in the end.", "What follows says little, but a line or two of it matter.", "Somewhere below stands a value. Look for it.", "Notes of a day.", "Much of the following can be left out.",
            "Keep what has a name and a value, forget what has none.", "A test of memory.", "Later there are questions, and answers must be exact.", "In these lines something has been put that you need.", "Be patient: this goes on for long.",
        ];

    // Sentences are also put together of these: all words of the passkey's, but no "the … is" and no "What is".
    private static readonly string[]
        Whose = ["our", "my", "this", "that", "his", "her", "their", "your", "a", "one", "the"],
        Links = ["is", "was", "reads", "says", "equals", "became", "stays", "remains", "has been", "will be", "must be", "="],
        Asks = ["What", "Which", "Who", "Where", "How", "When"];

    private static readonly string[] Articles = ["A", "This", "One", "Each", "That", "Some", "Every", "No"], Verbs = ["is", "was", "has", "makes", "sees", "keeps", "goes", "and"];

    private readonly Prose prose;
    private readonly int shortest, longest, newline;

    /// <summary>Passages from the shortest on.</summary>
    /// <param name="prose">Where lines and words are from.</param>
    /// <param name="longest">The most tokens that a passage may have.</param>
    /// <exception cref="ArgumentOutOfRangeException">No passage is so short.</exception>
    public RecordDocuments(Prose prose, int longest) : base(prose.Tokenizer)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(longest, Least);
        (this.prose, this.longest, shortest, newline) = (prose, longest, Math.Min(Shortest, longest * 3 / 4), Tokenizer.Encode("\n"u8)[^1]);
    }

    /// <inheritdoc/>
    public override string Name => $"records in many forms among lines, passages of {shortest} to {longest} {Unit} one after another, of {prose.Name}";

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number, long start)
    {
        var random = new Philox(seed, number);
        for (ulong index = 0; ; index++)
        {
            int length = (int)(shortest * Math.Exp(random.NextDouble() * Math.Log((double)longest / shortest)));
            ulong key = random.NextUInt64();
            if (start >= length)
            {
                start -= length;
                continue;
            }
            (int[] tokens, int[] distances) = Passage(new Philox(key, index), length);
            for (int i = (int)start; i < length; i++)
                yield return new MarkedToken(tokens[i], distances[i]);
            start = 0;
        }
    }

    /// <summary>A passage of exactly so many tokens, and of each the distance to what determines it.</summary>
    private (int[] Tokens, int[] Distances) Passage(Philox random, int length)
    {
        List<(string Value, Line Told, Line Asked)> records = [];
        int left = length;
        for (int count = 1 + random.Next(MostRecords); records.Count < count;)
        {
            string name = NameOf(random), value = ValueOf(random);
            (string telling, string asking) = Choose(random, isShort: left < Roomy);
            telling = Filled(telling, name, value);
            Line told = new($"{Capital(telling)}\n", Tokenizer), asked = new($"{Filled(asking, name, value)} {value}.\n", Tokenizer);
            int size = told.Tokens.Length + asked.Tokens.Length;
            if (size > left)
                break;
            records.Add((value, told, asked));
            left -= size;
        }
        int[] places = [.. records.Select(_ => random.Next(left + 1))], order = [.. Enumerable.Range(0, records.Count)];
        Array.Sort(places);
        random.Shuffle<int>(order);

        int[] tokens = new int[length], distances = new int[length], lastTold = new int[records.Count];
        Array.Fill(distances, MarkedToken.NotScored);
        int at = 0, filled = 0, next = 0;
        foreach (int[] line in Lines(random))
        {
            for (; next < records.Count && filled >= places[next]; next++)
                Write(next, records[next].Told);
            if (filled == left)
                break;
            int count = Math.Min(line.Length, left - filled);
            line.AsSpan(0, count).CopyTo(tokens.AsSpan(at));
            (at, filled) = (at + count, filled + count);
            tokens[at - 1] = newline;
        }
        foreach (int record in order)
            Write(record, records[record].Asked);
        return (tokens, distances);

        // A value that was told before is scored, with the space before it.
        void Write(int record, Line line)
        {
            line.Tokens.CopyTo(tokens.AsSpan(at));
            string mention = " " + records[record].Value;
            for (int found = line.Text.IndexOf(mention, StringComparison.Ordinal); found >= 0; found = line.Text.IndexOf(mention, found + 1, StringComparison.Ordinal))
            {
                (int first, int count) = Within(line.Tokens, found, found + mention.Length).GetOffsetAndLength(line.Tokens.Length);
                int place = at + first;
                // The last tokens may be others, where what follows begins in them.
                for (int i = place; lastTold[record] > 0 && i < place + count && tokens[i] == tokens[i - place + lastTold[record]]; i++)
                    distances[i] = place - lastTold[record];
                lastTold[record] = place;
            }
            at += line.Tokens.Length;
        }
    }

    /// <summary>Lines that say nothing of any record, endlessly: text from some place on, a few sentences again and again, or some of a few in any order.</summary>
    private IEnumerable<int[]> Lines(Philox random)
    {
        if (random.Next(2) == 0)
            yield return new Line(string.Join(' ', Enumerable.Range(0, 1 + random.Next(2)).Select(_ => One(random, Openings))) + (random.Next(2) == 0 ? "\n" : "\n\n"), Tokenizer).Tokens;
        double kind = random.NextDouble();
        if (kind < 0.3)
        {
            for (int line = random.Next(prose.Lines.Length); ; line = (line + 1) % prose.Lines.Length)
                yield return prose.Lines[line];
        }
        int[][] few = [.. Enumerable.Range(0, 1 + random.Next(4)).Select(_ => new Line(string.Join(' ', Enumerable.Range(0, 1 + random.Next(5)).Select(_ => Sentence(random))) + "\n", Tokenizer).Tokens)];
        for (int line = 0; ; line++)
            yield return few[kind < 0.8 ? line % few.Length : random.Next(few.Length)];
    }

    /// <summary>What tells a name its value and what asks for it: often with other sentences about it, which have room where a passage is not short.</summary>
    private static (string Told, string Asked) Choose(Philox random, bool isShort)
    {
        string told = random.Next(2) == 0 ? One(random, Telling) : $"{Said(random)} {{v}}.", asked = random.Next(2) == 0 ? One(random, Asking) : Said(random);
        if (isShort || random.Next(4) == 0)
            return (told, asked);
        if (random.Next(3) == 0)
            told = $"{One(random, Before)} {told}";
        if (random.Next(2) == 0)
            told = $"{told} {One(random, After)}";
        if (random.Next(2) == 0)
            told = $"{told} {random.Next(4) switch { 0 => $"{Said(random)} {{v}}.", 1 => $"{{v}} {Linked(random)}.", _ => One(random, Again) }}";
        if (random.Next(3) > 0)
            asked = $"{(random.Next(2) == 0 ? One(random, Questions) : $"{Asked(random)}?")} {(random.Next(2) == 0 ? One(random, Answers) : Capital(Said(random)))}";
        if (random.Next(3) == 0)
            asked = "\n" + asked;
        return (told, asked);
    }

    /// <summary>Whose name it is, and what goes before its value.</summary>
    private static string Said(Philox random)
    {
        (string whose, string link) = Pair(random, Whose, "the", Links);
        return $"{whose} {{n}} {link}";
    }

    /// <summary>What goes behind a value: that it is somebody's.</summary>
    private static string Linked(Philox random)
    {
        (string whose, string link) = Pair(random, Whose, "the", Links);
        return $"{link} {whose} {{n}}";
    }

    private static string Asked(Philox random)
    {
        (string asks, string link) = Pair(random, Asks, "What", Links);
        return $"{asks} {link} {One(random, Whose)} {{n}}";
    }

    /// <summary>One of each; not one of them with "is".</summary>
    private static (string, string) Pair(Philox random, string[] first, string not, string[] links)
    {
        while (true)
        {
            (string word, string link) = (One(random, first), One(random, links));
            if (word != not || link != "is")
                return (word, link);
        }
    }

    private static string Capital(string text) => $"{char.ToUpperInvariant(text[0])}{text[1..]}";

    private static string One(Philox random, string[] all) => all[random.Next(all.Length)];

    private static string Filled(string form, string name, string value) => form.Replace("{n}", name).Replace("{v}", value);

    /// <summary>A line of ASCII, and its tokens.</summary>
    private sealed record Line(string Text, Tokenizer Tokenizer)
    {
        public int[] Tokens { get; } = Tokenizer.Encode(Encoding.ASCII.GetBytes(Text));
    }

    private string Sentence(Philox random) => $"{Articles[random.Next(Articles.Length)]} {Word(random)} {Verbs[random.Next(Verbs.Length)]} {Word(random)}.";

    private string Word(Philox random) => prose.Words[random.Next(prose.Words.Length)];

    /// <summary>One word or two, or one that there never was.</summary>
    private string NameOf(Philox random) => random.Next(10) switch
    {
        < 3 => string.Concat(Enumerable.Range(0, 2 + random.Next(2)).Select(_ => $"{"bcdfghklmnprstvz"[random.Next(16)]}{"aeiou"[random.Next(5)]}{"nrsl"[random.Next(4)]}")),
        < 7 => Word(random),
        _ => $"{Word(random)} {Word(random)}",
    };

    /// <summary>Mostly digits; else capitals, or a word in quotation marks: what does not look like the lines around.</summary>
    private string ValueOf(Philox random) => random.Next(10) switch
    {
        < 8 => string.Concat(Enumerable.Range(0, 2 + random.Next(6)).Select(_ => (char)('0' + random.Next(10)))),
        8 => string.Concat(Enumerable.Range(0, 3 + random.Next(4)).Select(_ => (char)('A' + random.Next(26)))),
        _ => $"\"{Word(random)}\"",
    };
}
