using System.Xml.Linq;
using ScratchMamba.Data;
using ScratchMamba.Studies.Data;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Studies;

/// <summary>The data of the studies are what they are said to be.</summary>
public class DataTests
{
    private static readonly Prose Declaration = new("lines", "when in the course of human events it becomes necessary for one people to dissolve\nthe political bands which have connected them with another, and to assume among the powers\n"u8);

    // It has tokens of several letters, and of two digits.
    private static readonly BpeTokenizer Vocabulary = BpeTrainer.Train("the people of the powers were 17 and 42, then 17 and 42: the passkey is the one that is remembered. Remember the people, \"the\"."u8, 300);

    private static readonly Dictionary<string, StudyData> All = new()
    {
        ["recall"] = new StreamingRecall(),
        ["recent recall"] = new StreamingRecall(16, 8, 0.3, ReadDistance.LogUniform),
        ["associative"] = new AssociativeRecall(20),
        ["copying"] = new SelectiveCopying(50),
        ["markov"] = new MarkovDocuments(),
        ["text"] = new TextDocuments("text", "To be, or not to be, that is the question"u8, new ByteTokenizer()),
        ["passkeys"] = new PasskeyDocuments(700),
        ["bare passkeys"] = new PasskeyDocuments(0),
        ["records"] = new RecordDocuments(Declaration, 150),
        ["passkeys in tokens"] = new PasskeyDocuments(500, Vocabulary),
        ["records in tokens"] = new RecordDocuments(new Prose("lines", "when in the course of human events it becomes necessary for one people to dissolve the political bands which have connected them\n"u8, Vocabulary), 150),
        ["newlines"] = RepeatedTokens.Newlines(new ByteTokenizer()),
        ["pair"] = RepeatedTokens.Pair(new StreamingRecall()),
    };

    public static TheoryData<string> Names => [.. All.Keys];

    private static MarkedToken[] Take(StudyData data, ulong seed = 1, ulong number = 0, int count = 300) => [.. data.Document(seed, number).Take(count)];

    [Theory, MemberData(nameof(Names))]
    public void ADocumentDependsOnItsSeedAndNumberOnly(string name)
    {
        StudyData data = All[name];
        MarkedToken[] first = Take(data, 5, 9);
        Take(data, 5, 10);
        Assert.Equal(first, Take(data, 5, 9));
        Assert.Equal(first[..20], Take(data, 5, 9, 20));
        if (name != "newlines")
        {
            Assert.Contains(Enumerable.Range(0, 5), other => !first.SequenceEqual(Take(data, 5, 10 + (ulong)other)));
            Assert.Contains(Enumerable.Range(0, 5), other => !first.SequenceEqual(Take(data, 6 + (ulong)other, 9)));
        }
        Assert.All(first, token => Assert.InRange(token.Id, 0, data.VocabularySize - 1));
        Assert.True(data.ChanceLoss <= Math.Log(data.VocabularySize) + 1e-12);
    }

    [Theory, InlineData("recall"), InlineData("recent recall"), InlineData("associative"), InlineData("copying"), InlineData("passkeys"), InlineData("bare passkeys"), InlineData("records"), InlineData("passkeys in tokens"), InlineData("records in tokens"), InlineData("newlines"), InlineData("pair")]
    public void WhatIsScoredStandsAtItsDistance(string name)
    {
        for (ulong number = 0; number < 5; number++)
        {
            MarkedToken[] tokens = Take(All[name], 3, number);
            Assert.Contains(tokens, token => token.IsScored);
            for (int i = 0; i < tokens.Length; i++)
            {
                if (tokens[i].IsScored)
                    Assert.Equal(tokens[i].Id, tokens[i - tokens[i].Distance].Id);
            }
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void ALaterPlaceOfADocumentIsFoundWithoutWhatLiesBefore(string name)
    {
        MarkedToken[] whole = Take(All[name], 4, 2, 2500);
        foreach (int start in new[] { 0, 1, 99, 262, 700, 1903 })
            Assert.Equal(whole.Skip(start).Take(500), All[name].Document(4, 2, start).Take(500));
    }

    [Fact]
    public void PasskeyDocumentsArePromptsWithTheirAnswers()
    {
        var data = new PasskeyDocuments(2000);
        string text = string.Concat(Take(data, 1, 5, 30_000).Select(token => (char)token.Id));
        string[] prompts = text.Split("There is an important")[1..^1];
        Assert.InRange(prompts.Length, 15, 110);
        Assert.True(prompts.Max(prompt => prompt.Length) > 1200 && prompts.Min(prompt => prompt.Length) < 500);
        Assert.All(prompts, prompt =>
        {
            System.Text.RegularExpressions.Match told = System.Text.RegularExpressions.Regex.Match(prompt, @"The passkey is (\d{5})\. Remember it\. \1 is the passkey\.\n");
            Assert.True(told.Success);
            Assert.EndsWith($"What is the passkey? The passkey is {told.Groups[1].Value}\n\n", prompt, StringComparison.Ordinal);
        });
        Assert.Throws<ArgumentOutOfRangeException>(() => new PasskeyDocuments(100));
    }

    [Fact]
    public void APasskeyInTokensIsTheSameText()
    {
        string text = System.Text.Encoding.UTF8.GetString(Vocabulary.Decode([.. Take(All["passkeys in tokens"], 1, 5, 3000).Select(token => token.Id)]));
        string[] prompts = text.Split("There is an important")[1..^1];
        Assert.NotEmpty(prompts);
        Assert.All(prompts, prompt => Assert.Matches(@"The passkey is (\d{5})\. Remember it\. \1 is the passkey\.\n(.|\n)*The passkey is \1\n\n$", prompt));
        var passkey = new TextPasskey(Vocabulary);
        PasskeyPrompt asked = passkey.Prompt(1, 2, 600, 0.5);
        Assert.InRange(asked.Tokens.Length, 500, 600);
        Assert.True(passkey.Accepts(asked, Vocabulary.Encode(System.Text.Encoding.UTF8.GetBytes(" " + asked.Answer))));
        Assert.NotEqual(All["records"].Name, All["records in tokens"].Name);
    }

    [Fact]
    public void RecordsAreAskedForAsTheyWereTold()
    {
        MarkedToken[] tokens = Take(new RecordDocuments(Declaration, 5000), 1, 3, 30_000);
        int[] distances = [.. tokens.Where(token => token.IsScored).Select(token => token.Distance)];
        Assert.True(distances.Min() < 20 && distances.Max() > 2000);
        // Most values are digits, which nothing else is.
        Assert.InRange(tokens.Count(token => token.IsScored && char.IsAsciiDigit((char)token.Id)) / (double)distances.Length, 0.4, 0.8);
        Assert.Throws<ArgumentOutOfRangeException>(() => new RecordDocuments(Declaration, 63));
        Assert.Throws<ArgumentException>(() => new Prose("nothing", "to be or not to be"u8));
    }

    [Fact]
    public void WhatIsLearnedWithoutPasskeysHasNothingOfThem()
    {
        const int Window = 20;
        byte[] asked = [.. new TextPasskey(new ByteTokenizer()).Prompt(1, 0, 500, 0.5).Tokens.Select(token => (byte)token)];
        // The text that is always there quotes the prompt.
        Assert.True(ScratchMamba.Data.TextCorpus.ReadDefault().AsSpan().IndexOf("The grass is green."u8) >= 0);
        Assert.DoesNotContain("There is an important", string.Concat(new Prose("lines", System.Text.Encoding.UTF8.GetBytes(
            "of one other line: There is an important one\n" + string.Join(' ', Enumerable.Range(0, 16).Select(i => $"word{(char)('a' + i)}")))).Lines.Select(line => System.Text.Encoding.UTF8.GetString(new ByteTokenizer().Decode(line)))), StringComparison.Ordinal);
        byte[] learned = [.. Enumerable.Range(0, 20).SelectMany(number => Take(new RecordDocuments(Prose.Default, 4096), 1, (ulong)number, 20_000)).Select(token => (byte)token.Id)];
        for (int i = 0; i + Window <= asked.Length; i++)
            Assert.False(learned.AsSpan().IndexOf(asked.AsSpan(i, Window)) >= 0, System.Text.Encoding.ASCII.GetString(asked, i, Window));
        Assert.DoesNotContain("passkey", System.Text.Encoding.UTF8.GetString(learned), StringComparison.OrdinalIgnoreCase);
        Assert.Equal(0, Prose.Default.Lines.Count(line => System.Text.Encoding.UTF8.GetString(new ByteTokenizer().Decode(line)).Contains("passkey", StringComparison.OrdinalIgnoreCase)));
    }

    [Fact]
    public void ABatchMayHaveLabelsForWhatIsScoredOnly()
    {
        StudyData data = All["recall"];
        TokenBatch every = data.Batch(1, 2, 3, 40), scored = data.Batch(1, 2, 3, 40, scoredOnly: true);
        Assert.Equal(every.Inputs, scored.Inputs);
        for (int row = 0; row < 3; row++)
        {
            MarkedToken[] tokens = Take(data, 1, (ulong)(2 * 3 + row), 41);
            Assert.Equal(tokens[1..].Select(token => token.IsScored ? token.Id : -100), scored.Labels[(40 * row)..(40 * (row + 1))]);
        }
    }

    [Theory, InlineData(ReadDistance.Uniform), InlineData(ReadDistance.LogUniform)]
    public void AReadTellsTheLatestValueOfItsKey(ReadDistance reads)
    {
        var data = new StreamingRecall(6, 5, 0.5, reads);
        MarkedToken[] tokens = Take(data, 1, 2, 2001);
        var latest = new Dictionary<int, int>();
        int readCount = 0;
        for (int i = 1; i < tokens.Length; i += 2)
        {
            (int key, MarkedToken value) = (tokens[i].Id, tokens[i + 1]);
            Assert.InRange(key, 1, 6);
            Assert.InRange(value.Id, 7, 11);
            if (value.IsScored)
            {
                readCount++;
                Assert.Equal(latest[key], value.Id);
                // Nothing between it and the last mention speaks of this key.
                Assert.DoesNotContain(key, tokens[(i - value.Distance + 1)..i].Where((_, j) => j % 2 == 1).Select(token => token.Id));
                Assert.Equal(key, tokens[i - value.Distance].Id);
            }
            latest[key] = value.Id;
        }
        // 1000 pairs, half of them reads: ±4 standard errors.
        Assert.InRange(readCount, 437, 563);
    }

    [Fact]
    public void LogUniformReadsAskForWhatIsRecent()
    {
        double Mean(ReadDistance reads) => Take(new StreamingRecall(64, 8, 0.5, reads), 1, 0, 4001).Where(token => token.IsScored).Average(token => token.Distance);
        Assert.True(Mean(ReadDistance.LogUniform) < 0.6 * Mean(ReadDistance.Uniform));
    }

    [Fact]
    public void EveryPairIsAskedForOnce()
    {
        MarkedToken[] tokens = Take(new AssociativeRecall(7, 10, 10));
        Assert.Equal(1 + 4 * 7, tokens.Length);
        int[] keys = [.. Enumerable.Range(0, 7).Select(i => tokens[1 + 2 * i].Id)], asked = [.. Enumerable.Range(7, 7).Select(i => tokens[1 + 2 * i].Id)];
        Assert.Equal(7, keys.Distinct().Count());
        Assert.Equal(keys.Order(), asked.Order());
        Assert.Equal(7, tokens.Count(token => token.IsScored));
    }

    [Fact]
    public void CopyingCopiesInOrder()
    {
        MarkedToken[] tokens = Take(new SelectiveCopying(40, 6, 9));
        Assert.Equal(47, tokens.Length);
        Assert.Equal(1, tokens[40].Id);
        Assert.Equal(tokens[..40].Where(token => token.Id != 0).Select(token => token.Id), tokens[41..].Select(token => token.Id));
    }

    [Fact]
    public void CountingPairsPredictsAMarkovDocument()
    {
        // Half a document teaches the chain of the other half, and not that of another document.
        int[] Ids(ulong number) => [.. Take(new MarkovDocuments(16, 0.1), 1, number, 20_000).Select(token => token.Id)];
        int[] own = Ids(0), other = Ids(1);
        double Loss(int[] seen) => new NGramBaseline(seen, 16).Evaluate(own.AsSpan(10_000)).Bigram;
        Assert.True(Loss(own[..10_000]) < 0.6 * Math.Log(16), $"{Loss(own[..10_000])}");
        Assert.True(Loss(other) > 1.5 * Loss(own[..10_000]));
    }

    [Fact]
    public void TextGoesRound()
    {
        string text = string.Concat(Take(new TextDocuments("text", "abcde"u8, new ByteTokenizer()), 1, 3, 12).Select(token => (char)token.Id));
        Assert.Contains(text, "abcdeabcdeabcdeabcde", StringComparison.Ordinal);
    }

    [Fact]
    public void ABatchHoldsDocumentsAndWhatFollows()
    {
        var data = new StreamingRecall();
        TokenBatch batch = data.Batch(seed: 4, step: 3, rows: 2, length: 10);
        for (int row = 0; row < 2; row++)
        {
            int[] document = [.. Take(data, 4, (ulong)(6 + row), 11).Select(token => token.Id)];
            Assert.Equal(document[..10], batch.Inputs[(row * 10)..(row * 10 + 10)]);
            Assert.Equal(document[1..], batch.Labels[(row * 10)..(row * 10 + 10)]);
        }
        TokenBatch ended = new AssociativeRecall(1).Batch(1, 0, 1, 8);
        Assert.Equal([-100, -100, -100, -100], ended.Labels[4..]);
        Assert.All(ended.Labels[..4], label => Assert.True(label >= 0));
    }

    [Theory, InlineData(500, 0), InlineData(500, 0.5), InlineData(1000, 1), InlineData(4000, 0.3)]
    public void APasskeyStandsWhereItShould(int length, double depth)
    {
        var passkey = new TextPasskey(new ByteTokenizer());
        PasskeyPrompt prompt = passkey.Prompt(1, 2, length, depth);
        Assert.Equal(prompt.Tokens, passkey.Prompt(1, 2, length, depth).Tokens);
        Assert.InRange(prompt.Tokens.Length, length - 130, length);
        string text = passkey.Decode(prompt.Tokens), rest = passkey.Decode(prompt.Tokens.AsSpan(^prompt.Distance..));
        Assert.EndsWith("The passkey is", text, StringComparison.Ordinal);
        Assert.StartsWith($"The passkey is {prompt.Answer}. Remember it. {prompt.Answer} is the passkey.\n", rest, StringComparison.Ordinal);
        Assert.Equal(3, text.Split(prompt.Answer).Length);
        Assert.Matches("^[0-9]{5}$", prompt.Answer);
        Assert.True(passkey.Accepts(prompt, new ByteTokenizer().Encode(System.Text.Encoding.UTF8.GetBytes(" " + prompt.Answer))));
        Assert.False(passkey.Accepts(prompt, new ByteTokenizer().Encode(" 0000"u8)));
    }

    [Theory, InlineData(16, 0), InlineData(17, 0.99), InlineData(300, 0.4)]
    public void APasskeyOfPairsHasOneAnswer(int length, double depth)
    {
        var data = new StreamingRecall();
        var passkey = new RecallPasskey(data);
        PasskeyPrompt prompt = passkey.Prompt(7, 1, length, depth);
        int query = prompt.Tokens[^1], place = prompt.Tokens.Length - prompt.Distance;
        Assert.InRange(prompt.Tokens.Length, length - 1, length);
        Assert.Equal(place, Array.IndexOf(prompt.Tokens, query));
        Assert.Equal(prompt.Tokens.Length - 1, Array.IndexOf(prompt.Tokens, query, place + 1));
        Assert.True(passkey.Accepts(prompt, prompt.Tokens.AsSpan(place + 1, 1)));
        Assert.Equal((int)(depth * ((length - 2) / 2 - 1)), (place - 1) / 2);
        Assert.Throws<ArgumentException>(() => passkey.Prompt(1, 0, 3, 0));
    }

    [Fact]
    public void TheExamplesInTheDocumentationAreWhatIsPrinted()
    {
        XElement document = XElement.Load(Path.ChangeExtension(typeof(StudyData).Assembly.Location, ".xml"));
        string Example(string type) => document.Descendants("member").Single(member => member.Attribute("name")!.Value == $"T:ScratchMamba.Studies.Data.{type}").Descendants("code").Single().Value;
        void Is(string type, string printed) => Assert.Equal(Lines(printed), Lines(Example(type)));
        static string[] Lines(string text) => [.. text.Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0)];

        Is(nameof(StreamingRecall), new StreamingRecall(4, 4).Print(7, 0, 17));
        Is(nameof(AssociativeRecall), new AssociativeRecall(3, 8, 8).Print(1, 0, 100));
        Is(nameof(SelectiveCopying), new SelectiveCopying(10, 3, 8).Print(1, 0, 100));
        Is(nameof(MarkovDocuments), new MarkovDocuments(4, 0.2).Print(1, 0, 16));
        Is(nameof(TextDocuments), new TextDocuments("", "to be or not to be"u8, new ByteTokenizer()).Print(1, 0, 24));
        Is(nameof(PasskeyDocuments), new PasskeyDocuments(0).Print(1, 0, 57));
        Is(nameof(RecordDocuments), new RecordDocuments(Declaration, 150).Print(1, 3, 122));
        Is(nameof(RepeatedTokens), RepeatedTokens.Pair(new StreamingRecall(4, 4)).Print(1, 0, 9));
        var text = new TextPasskey(new ByteTokenizer());
        Is(nameof(TextPasskey), text.Decode(text.Prompt(1, 0, 500, 0.5).Tokens));
        var pairs = new RecallPasskey(new StreamingRecall(8, 8));
        Is(nameof(RecallPasskey), pairs.Decode(pairs.Prompt(1, 0, 24, 0.5).Tokens));
    }
}
