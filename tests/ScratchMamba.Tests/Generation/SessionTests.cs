using ScratchMamba.Checkpoints;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tests.Checkpoints;
using ScratchMamba.Tests.Mamba2;

namespace ScratchMamba.Tests.Generation;

public sealed class SessionTests : IDisposable
{
    private static readonly Sampler Penalizing = new() { Temperature = 1.3, TopK = 9, RepetitionPenalty = 1.2, PresencePenalty = 0.1, FrequencyPenalty = 0.05, Seed = 8 };

    private readonly TemporaryFolder folder = new();
    private readonly CpuBackend cpu = new();

    private string Saved => folder.File("text.state");

    public static TheoryData<string> Cures => ["none", "retention=0.97,insertion=0.8", "window=7", "reset=9", "stagger=6", "norm=0.5@4"];

    public void Dispose()
    {
        cpu.Dispose();
        folder.Dispose();
    }

    [Theory, MemberData(nameof(Cures))]
    public void ATextThatWasSavedOrCopiedGoesOnAsIfNothingHadHappened(string cure)
    {
        foreach (DType type in new[] { DType.F32, DType.F64 })
        {
            Mamba2Model model = Samples.Model("plain", cpu, type);
            model.Cure = Cure.Parse(cure);
            using Session whole = Begun(model, 13);
            int[] expected = Written(whole, 40);

            using Session first = Begun(model, 13);
            int[] before = Written(first, 17);
            using Session fork = first.Fork();
            SessionFile.Save(first, Saved, Penalizing.Seed);
            (Session loaded, ulong seed) = SessionFile.Load(Saved, model);
            using (loaded)
            {
                Assert.Equal(Penalizing.Seed, seed);
                Assert.Equal((first.Count, first.Drawn), (loaded.Count, loaded.Drawn));
                Assert.Equal(first.LastTokens, loaded.LastTokens);
                int[] continued = [.. before, .. Written(loaded, 23)];
                Assert.Equal(expected, continued);
                Assert.Equal(States(whole), States(loaded));
            }
            Assert.Equal(expected[17..], Written(fork, 23));
            // What became of the copy is nothing to the text that it was made of.
            Assert.Equal(expected[17..], Written(first, 23));
        }
    }

    [Theory]
    [InlineData(DType.BF16, "none")]
    [InlineData(DType.F16, "none")]
    [InlineData(DType.BF16, "window=7")]
    public void StatesOf16BitsStayThatFromTokenToTokenAndInFiles(DType type, string cure)
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32), exact = Samples.Model("plain", cpu, DType.F32);
        model.Cure = exact.Cure = Cure.Parse(cure);
        model.StateType = type;
        using Session text = Begun(model, 13), whole = Begun(exact, 13);
        int[] before = Written(text, 17);
        Assert.All(text.State.Layers, layer => Assert.Equal((DType.F32, type), (layer.Convolution.DType, layer.Recurrent.DType)));
        SessionFile.Save(text, Saved);
        using Session loaded = SessionFile.Load(Saved, model).Session, fork = text.Fork();
        int[] expected = Written(text, 23);
        Assert.Equal(expected, Written(loaded, 23));
        Assert.Equal(expected, Written(fork, 23));
        Assert.Equal(States(text), States(loaded));
        CheckpointException error = Assert.Throws<CheckpointException>(() => SessionFile.Load(Saved, exact));
        Assert.EndsWith($"holds states in {type}, and the model in F32: say --state-type {type}".ToLowerInvariant(), error.Message.ToLowerInvariant(), StringComparison.Ordinal);

        // As near to those of float32 as their 8 or 11 bits are, after the same tokens.
        whole.Read([.. before, .. expected]);
        using var scope = new Scope();
        double[] logits = whole.Logits().ToDoubles(), rounded = text.Logits().ToDoubles();
        Assert.InRange(RelativeError.Of(rounded, logits), 1e-7, type == DType.BF16 ? 1e-2 : 2e-3);
    }

    [Fact]
    public void StatesAreHeldInFloatingPointOf16Or32Bits()
    {
        Mamba2Model single = Samples.Model("plain", cpu, DType.F32), precise = Samples.Model("plain", cpu, DType.F64);
        Assert.Equal((DType.F32, DType.F64), (single.StateType, precise.StateType));
        Assert.Contains("held in F32, BF16 or F16, not in Q8_0", Assert.Throws<ArgumentException>(() => single.StateType = DType.Q8_0).Message, StringComparison.Ordinal);
        Assert.Contains("held in F64, not in BF16", Assert.Throws<ArgumentException>(() => precise.StateType = DType.BF16).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AMomentBeforeTheFirstTokenIsSavedToo()
    {
        Mamba2Model model = Samples.Model("a learned initial state", cpu, DType.F32);
        using Session expected = Begun(model, 5), session = Begun(model, 5);
        SessionFile.Save(session, Saved);
        using Session loaded = SessionFile.Load(Saved, model).Session;
        Assert.Equal(Written(expected, 9), Written(loaded, 9));
    }

    [Fact]
    public void HowATextIsDividedMakesNoDifference()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        int[] tokens = Samples.Tokens(2 * Session.Piece + 300);
        using var whole = new Session(model);
        whole.Read(tokens);
        int[] expected = Written(whole, 5);
        var random = new Random(4);
        for (int attempt = 0; attempt < 3; attempt++)
        {
            using var divided = new Session(model);
            for (int start = 0, count; start < tokens.Length; start += count)
            {
                count = Math.Min(random.Next(attempt == 0 ? 3 : 1500), tokens.Length - start);
                divided.Read(tokens.AsSpan(start, count));
            }
            Assert.Equal(expected, Written(divided, 5));
            Assert.Equal(States(whole), States(divided));
        }
        // And in another division of the model's own the same but for rounding.
        using var scope = new Scope();
        (Tensor logits, Mamba2State state) = model.Prefill(cpu.Tensor<int>([1, 700], tokens[..700]));
        (logits, _) = model.Prefill(cpu.Tensor<int>([1, 1], tokens[700..701]), model.Prefill(cpu.Tensor<int>([1, 3], tokens[697..700]), model.Prefill(cpu.Tensor<int>([1, 697], tokens[..697])).State).State);
        Assert.InRange(RelativeError.Of(logits.ToDoubles(), model.Prefill(cpu.Tensor<int>([1, 701], tokens[..701])).Logits.ToDoubles()), 0, 1e-5);
    }

    [Theory, InlineData("none"), InlineData("retention=0.97")]
    public void TextsOfDifferentLengthsGoOnTogetherAsTheyDoAlone(string cure)
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        model.Cure = Cure.Parse(cure);
        int[] lengths = [3, 40, 1, 17, 8, 2];
        int[][] expected = [.. lengths.Select(length => Together(model, length, 30))];
        using var batch = new SessionBatch(model);
        List<(Session Session, List<int> Text)> running = [];
        var done = new Dictionary<int, int[]>();
        for (int step = 0; done.Count < lengths.Length; step++)
        {
            // One comes with every second step, and leaves when it has thirty tokens.
            if (step % 2 == 0 && step / 2 < lengths.Length)
            {
                Session session = Begun(model, lengths[step / 2]);
                running.Add((session, []));
                batch.Add(session);
            }
            double[][] logits = batch.Step();
            for (int row = 0; row < logits.Length; row++)
                running.Single(entry => entry.Session == batch.Sessions[row]).Text.Add(batch.Sessions[row].Take(Penalizing, logits[row]));
            foreach ((Session session, List<int> text) in running.Where(entry => entry.Text.Count == 30).ToArray())
            {
                done[Array.IndexOf(lengths, (int)session.Count - 30)] = [.. text];
                batch.Remove(session);
                running.RemoveAll(entry => entry.Session == session);
                session.Dispose();
            }
        }
        Assert.All(expected.Index(), entry => Assert.Equal(entry.Item, done[entry.Index]));
    }

    [Theory, InlineData("plain"), InlineData("a learned initial state"), InlineData("two groups, norm per group"), InlineData("one tap")]
    public void PromptsOfDifferentLengthsAreReadTogetherAsTheyAreAlone(string name)
    {
        Mamba2Model model = Samples.Model(name, cpu, DType.F64);
        int[] lengths = [300, 1, 200, 2, 151, 700, 5];
        using var scope = new Scope();
        using var batch = new SessionBatch(model);
        using Session other = Begun(model, 9);
        batch.Add(other);
        other.Take(Sampler.Greedy, batch.Step()[0]);
        batch.AddTogether([.. lengths.Select(length => Begun(model, length))]);
        double[][] together = batch.Step();
        foreach ((int index, int length) in lengths.Index())
        {
            using Session alone = Begun(model, length);
            Assert.InRange(RelativeError.Of(together[index + 1], alone.Logits().ToDoubles()), 0, 1e-12);
            Session member = batch.Sessions[1];
            batch.Remove(member);
            Assert.InRange(RelativeError.Of(States(member), States(alone)), 0, 1e-12);
            Assert.Equal(alone.Count, member.Count);
            member.Dispose();
        }
    }

    [Fact]
    public void WhatCannotBeReadTogetherIsRefused()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        using var scope = new Scope();
        Tensor tokens = cpu.Tensor<int>([2, 3], 1, 2, 3, 4, 5, 6);
        foreach (int[] lengths in (int[][])[[3], [3, 4], [0, 3], [1, 2, 3]])
            Assert.Contains("length from 1 to L", Assert.Throws<ArgumentException>(() => model.Prefill(tokens, lengths)).Message, StringComparison.Ordinal);
        model.Cure = Cure.Parse("retention=0.97");
        Assert.Throws<InvalidOperationException>(() => model.Prefill(tokens, [2, 3]));
        // A batch reads them one by one then.
        using var batch = new SessionBatch(model);
        batch.AddTogether(Begun(model, 4), Begun(model, 30));
        using Session alone = Begun(model, 30);
        Assert.InRange(RelativeError.Of(batch.Step()[1], alone.Logits().ToDoubles()), 0, 1e-5);
    }

    [Fact]
    public void ATextThatLeavesABatchGoesOnAlone()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        int[] expected = Together(model, 4, 20);
        using Session session = Begun(model, 4), other = Begun(model, 9);
        using var batch = new SessionBatch(model);
        var text = new List<int>();
        batch.Add(other);
        for (int round = 0; round < 4; round++)
        {
            batch.Add(session);
            for (int i = 0; i < 3; i++)
            {
                double[][] logits = batch.Step();
                other.Take(Penalizing, logits[0]);
                text.Add(session.Take(Penalizing, logits[1]));
            }
            batch.Remove(session);
            text.AddRange(Written(session, 2));
        }
        Assert.Equal(expected, text);
        Assert.Throws<InvalidOperationException>(() => batch.Add(new Session(model)));
    }

    [Fact]
    public void ACureThatCountsPositionsIsGivenOneTextAtATime()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        model.Cure = Cure.Parse("window=5");
        using var batch = new SessionBatch(model);
        batch.Add(Begun(model, 2));
        Assert.Throws<InvalidOperationException>(() => batch.Add(Begun(model, 2)));
    }

    [Fact]
    public void MemoryStaysTheSameHoweverLongATextIs()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        using Session session = Begun(model, 3);
        var generator = new Generator(model, Penalizing);
        long early = 0;
        int count = 0;
        foreach (int token in generator.Continue(session, 3000))
        {
            if (++count == 100)
                early = cpu.LiveBytes;
        }
        Assert.Equal(early, cpu.LiveBytes);
        session.Read(Samples.Tokens(20_000));
        Assert.InRange(session.Unread.Count, 1, Session.Piece);
        Written(session, 1);
        Assert.Equal(early, cpu.LiveBytes);
        // And on the host nothing but what is bounded.
        Assert.InRange(session.LastTokens.Count, 1, 2048);
        Assert.InRange(session.History.Written.Count, 1, model.Config.VocabularySize);
        Assert.Equal(23_004, session.Count);
        using Session fresh = Begun(model, 3);
        SessionFile.Save(session, Saved);
        long size = new FileInfo(Saved).Length;
        SessionFile.Save(fresh, Saved);
        Assert.InRange(size - new FileInfo(Saved).Length, 0, 10_000);
    }

    [Fact]
    public void ATextOfAnotherModelOrCureIsRefusedInOneLine()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        using (Session session = Begun(model, 4))
            SessionFile.Save(session, Saved);
        Refused(Samples.Model("plain", cpu, DType.F64), "another model");
        Refused(Samples.Model("biases", cpu, DType.F32), "another model");
        Mamba2Model changed = Samples.Model("plain", cpu, DType.F32);
        Tensor last = changed.Parameters().Last().Parameter.Value;
        float[] values = last.ToArray<float>();
        values[^1] = MathF.BitIncrement(values[^1]);
        last.Write<float>(values);
        Refused(changed, "another model");
        model.Cure = Cure.Parse("window=3");
        Refused(model, "--cure none", "--cure window=3");
        Assert.Contains("cannot be opened", Assert.Throws<CheckpointException>(() => SessionFile.Load(folder.File("missing"), model)).Message);
        Assert.Contains("not a saved text", Assert.Throws<CheckpointException>(() => SessionFile.Load(Golden.File("hf-tiny/model.safetensors"), model)).Message);

        void Refused(Mamba2Model other, params string[] words)
        {
            string message = Assert.Throws<CheckpointException>(() => SessionFile.Load(Saved, other)).Message;
            Assert.StartsWith(Saved, message, StringComparison.Ordinal);
            Assert.All(words, word => Assert.Contains(word, message, StringComparison.Ordinal));
        }
    }

    [Fact]
    public void DamageIsNeverMoreThanACheckpointException()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        using Session session = Begun(model, 20);
        Written(session, 5);
        SessionFile.Save(session, Saved, 3);
        byte[] whole = File.ReadAllBytes(Saved);
        int loads = 0;
        Corruption.Check(whole, folder.File("damaged.state"), 1000, path =>
        {
            using Session loaded = SessionFile.Load(path, model).Session;
            loads++;
            // Damage that does not show, such as to a space, changes nothing.
            Assert.Equal(States(session), States(loaded));
            Assert.Equal((session.Count, session.Drawn), (loaded.Count, loaded.Drawn));
        });
        Assert.InRange(loads, 0, 100);
    }

    private static Session Begun(Mamba2Model model, int length)
    {
        var session = new Session(model);
        session.Read(Samples.Tokens(length, seed: length));
        return session;
    }

    private static int[] Written(Session session, int count) => [.. new Generator(session.Model, Penalizing).Continue(session, count)];

    /// <summary>What a batch of one writes: its prompt's last token is given to a step, and so may round another way than <see cref="Written"/>.</summary>
    private static int[] Together(Mamba2Model model, int length, int count)
    {
        using Session session = Begun(model, length);
        using var batch = new SessionBatch(model);
        batch.Add(session);
        return [.. Enumerable.Range(0, count).Select(_ => session.Take(Penalizing, batch.Step()[0]))];
    }

    private static double[] States(Session session) => [.. session.State.Tensors.SelectMany(tensor => tensor.ToDoubles())];
}
