using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>A <see cref="Cure"/> as one layer applies it.</summary>
internal sealed class LayerCure
{
    private readonly Cure cure;
    private readonly Mamba2Config config;
    private readonly double retention, insertion, timeStep, decay;
    private readonly double[]? thresholds, caps;
    private readonly SlidingWindow? window;

    private LayerCure(Cure cure, Mamba2Config config, int layer)
    {
        this.cure = cure;
        this.config = config;
        (retention, insertion, timeStep, decay) = (cure.Retention[layer], cure.Insertion[layer], cure.TimeStep[layer], cure.Decay[layer]);
        thresholds = cure.Filter?.Thresholds![layer] is { } values && values.Any(threshold => threshold > 0) ? [.. values] : null;
        caps = cure.Normalization?.CapsOf(layer, config.Heads);
        window = cure.Window > 0 ? new SlidingWindow(cure.Window) : null;
    }

    /// <summary>Whether nothing is carried but the state, so that a step can be captured and states of other origin continued.</summary>
    public bool IsStateless => cure.IsStateless && thresholds is null;

    /// <summary>Whether the place of a token in its text matters.</summary>
    private bool CountsTokens => thresholds is not null && cure.Filter!.TrainingLength > 0;

    /// <summary>The cure of a layer; null where it changes nothing there.</summary>
    public static LayerCure? Of(Cure cure, Mamba2Config config, int layer)
    {
        var own = new LayerCure(cure, config, layer);
        bool neutral = own is { retention: 1, insertion: 1, timeStep: 1, decay: 1, thresholds: null } && cure.IsStateless;
        return neutral ? null : own;
    }

    /// <summary>What is carried before the first token; null where that is nothing.</summary>
    public CureMemory? Empty(Tensor state) => this switch
    {
        { cure.IsStateless: true } => CountsTokens ? new CureMemory(0) : null,
        { window: not null } => new CureMemory(0, window.Empty(config, state.Shape[0], state.Backend, state.DType)),
        { cure.Stagger: > 0 } => new CureMemory(0, state),
        _ => new CureMemory(0),
    };

    /// <summary>The coefficients as the factors and the filter change them.</summary>
    /// <param name="given">Whole sequences or a token.</param>
    /// <param name="memory">What is carried from the tokens before.</param>
    public Recurrence Changed(Recurrence given, CureMemory? memory)
    {
        Recurrence changed = given;
        if (retention == 1)
        {
            changed = changed with { Step = Scaled(given.Step, timeStep * decay), X = Scaled(given.X, insertion / decay) };
        }
        else
        {
            // log α + log m = (Δ + log m / A) · A, and x makes up for the longer step: the ratio of the steps is between 0 and the factors of insertion.
            Tensor step = Scaled(given.Step, timeStep * decay) + Math.Log(retention) / given.A;
            Tensor ratio = Scaled(given.Step, timeStep * insertion) / step;
            changed = changed with { Step = step, X = given.X * ratio.Reshape([.. ratio.Shape.AsSpan(), 1]) };
        }
        if (thresholds is null)
            return changed;
        // A step of length 0 neither decays nor inserts.
        return changed with { Step = changed.Step * given.Step.Greater(Thresholds(given, memory?.Position ?? 0)) };

        static Tensor Scaled(Tensor x, double factor) => factor == 1 ? x : x * factor;
    }

    /// <summary>What steps must exceed, [H] or [L, H]: any step does at the first tokens.</summary>
    private Tensor Thresholds(Recurrence given, long position)
    {
        long free = cure.Filter!.TrainingLength - position;
        if (free <= 0)
            return PerHead(given.Step, thresholds!);
        bool isToken = given.Step.Shape.Rank == 2;
        int length = isToken ? 1 : given.Length, heads = thresholds!.Length;
        double[] values = [.. Enumerable.Range(0, length * heads).Select(i => i / heads < free ? -1 : thresholds[i % heads])];
        return given.Step.Backend.Tensor(new TensorType(given.Step.DType, isToken ? [heads] : [length, heads]), values);
    }

    /// <summary>Whole sequences: y [B, L, H, P], the state after them, and what is carried beside it.</summary>
    public (Tensor Y, Tensor State, CureMemory? Memory) Scan(Recurrence changed, Tensor? initial, CureMemory? memory, Tensor? sequence)
    {
        if (cure.IsStateless)
        {
            if (sequence is not null && CountsTokens)
                throw Packed();
            (Tensor y, Tensor state) = changed.Scan(initial, sequence, config.ChunkSize);
            return (y, state, Counted(memory, changed.Length));
        }
        if (sequence is not null)
            throw Packed();
        Tensor first = initial ?? Zeros(changed.X);
        CureMemory before = Continued(memory, first, initial is null);
        if (window is not null)
        {
            (Tensor y, Tensor state, Tensor[] inserts) = window.Scan(changed, before.Tensors, config.ChunkSize);
            return (y, state, new CureMemory(before.Position + changed.Length, inserts));
        }
        if (cure.Stagger > 0)
            return Staggered(changed, first, before);
        return caps is null ? Restarted(changed, first, before.Position) : Normalized(changed, first, before.Position);
    }

    /// <summary>One token: y [B, H, P], the next state, and what is carried beside it.</summary>
    public (Tensor Y, Tensor State, CureMemory? Memory) Step(Recurrence changed, Tensor state, CureMemory? memory)
    {
        if (cure.IsStateless)
        {
            (Tensor y, Tensor next) = changed.Next(state);
            return (y, next, Counted(memory, 1));
        }
        CureMemory before = Continued(memory, state, isStart: false);
        if (window is not null)
        {
            (Tensor y, Tensor next, Tensor[] inserts) = window.Step(changed, state, before.Tensors, before.Position, config.ChunkSize);
            return (y, next, new CureMemory(before.Position + 1, inserts));
        }
        if (cure.Stagger > 0)
        {
            (Tensor y, Tensor next) = changed.Next(Begun(state, before.Position, 0));
            (Tensor ySecond, Tensor second) = changed.Next(Begun(before.Tensors[0], before.Position, cure.Stagger / 2));
            return (ReadsFirst(before.Position) ? y : ySecond, next, new CureMemory(before.Position + 1, second));
        }
        (Tensor read, Tensor after) = changed.Next(cure.Reset > 0 ? Begun(state, before.Position, 0) : state);
        if (caps is not null && IsDue(before.Position))
        {
            Tensor scale = StateNormalization.Scale(after, PerHead(after, caps));
            (read, after) = (read * scale.Reshape([scale.Shape[0], scale.Shape[1], 1]), after * scale);
        }
        return (read, after, new CureMemory(before.Position + 1));
    }

    private CureMemory? Counted(CureMemory? memory, int tokens) => CountsTokens ? new CureMemory((memory?.Position ?? 0) + tokens) : null;

    private NotSupportedException Packed() => new($"Rows of several documents cannot be read with the cure {cure}: positions count from the beginning of a row.");

    /// <summary>A scan from an empty state at every multiple of the period.</summary>
    private (Tensor Y, Tensor State, CureMemory Memory) Restarted(Recurrence tokens, Tensor initial, long position)
    {
        (Tensor y, Tensor state) = cure.Reset > 0 ? Restarted(tokens, initial, position, cure.Reset, 0) : tokens.Scan(initial, null, config.ChunkSize);
        return (y, state, new CureMemory(position + tokens.Length));
    }

    private (Tensor Y, Tensor State) Restarted(Recurrence tokens, Tensor initial, long position, int period, int shift)
    {
        int batch = tokens.X.Shape[0];
        long first = (position + shift) / period;
        int[] numbers = [.. Enumerable.Range(0, tokens.Length).Select(t => (int)((position + shift + t) / period - first))];
        Tensor sequence = tokens.X.Backend.Tensor<int>([batch, tokens.Length], [.. Enumerable.Range(0, batch).SelectMany(_ => numbers)]);
        bool empties = position > 0 && (position + shift) % period == 0;
        return tokens.Scan(empties ? null : initial, numbers[^1] == 0 ? null : sequence, config.ChunkSize);
    }

    private (Tensor Y, Tensor State, CureMemory Memory) Staggered(Recurrence tokens, Tensor initial, CureMemory before)
    {
        (Tensor y, Tensor state) = Restarted(tokens, initial, before.Position, cure.Stagger, 0);
        (Tensor ySecond, Tensor second) = Restarted(tokens, before.Tensors[0], before.Position, cure.Stagger, cure.Stagger / 2);
        double[] readsFirst = [.. Enumerable.Range(0, tokens.Length).Select(t => ReadsFirst(before.Position + t) ? 1.0 : 0)];
        Tensor choice = y.Backend.Tensor(new TensorType(y.DType, [tokens.Length, 1, 1]), readsFirst);
        return (choice.Where(y, ySecond), state, new CureMemory(before.Position + tokens.Length, second));
    }

    /// <summary>Scans from one token at which the limit applies to the next.</summary>
    private (Tensor Y, Tensor State, CureMemory Memory) Normalized(Recurrence tokens, Tensor initial, long position)
    {
        int period = cure.Normalization!.Period;
        var outputs = new List<Tensor>();
        Tensor state = initial;
        for (int start = 0, count; start < tokens.Length; start += count)
        {
            count = (int)Math.Min(tokens.Length - start, period - (position + start) % period);
            Tensor y;
            if (count == 1)
            {
                (y, state, _) = Step(tokens.At(start), state, new CureMemory(position + start));
                outputs.Add(y.Reshape([y.Shape[0], 1, y.Shape[1], y.Shape[2]]));
                continue;
            }
            (y, state, _) = Restarted(tokens.Part(start, count), state, position + start);
            if (!IsDue(position + start + count - 1))
            {
                outputs.Add(y);
                continue;
            }
            Tensor scale = StateNormalization.Scale(state, PerHead(state, caps!));
            state *= scale;
            outputs.Add(y.Slice(1, 0, count - 1));
            outputs.Add(y.Slice(1, count - 1, 1) * scale.Reshape([scale.Shape[0], 1, scale.Shape[1], 1]));
        }
        return (TensorOperations.Concatenate(1, [.. outputs]), state, new CureMemory(position + tokens.Length));
    }

    private bool IsDue(long position) => (position + 1) % cure.Normalization!.Period == 0;

    private Tensor Begun(Tensor state, long position, int shift)
    {
        int period = Math.Max(cure.Reset, cure.Stagger);
        return position > 0 && (position + shift) % period == 0 ? state.Backend.Zeros(state.Type) : state;
    }

    /// <summary>The first state is emptied at even multiples of half the period, the second at odd ones; the older is the one that was emptied before the last multiple.</summary>
    private bool ReadsFirst(long position) => position / (cure.Stagger / 2) % 2 == 1;

    private CureMemory Continued(CureMemory? memory, Tensor state, bool isStart)
    {
        if (memory is null && window is not null && !isStart)
            throw new ArgumentException("This state was not made with a window: it does not say what the last tokens inserted. Read the text again from its beginning.");
        CureMemory continued = memory ?? Empty(state)!;
        int count = window is not null ? 3 : cure.Stagger > 0 ? 1 : 0;
        if (continued.Tensors.Count != count || window is not null && continued.Tensors[0].Shape[1] != cure.Window)
            throw new ArgumentException($"This state was made with another cure than {cure}. Read the text again from its beginning.");
        return continued;
    }

    private Tensor Zeros(Tensor x) => x.Backend.Zeros(new TensorType(x.DType, [x.Shape[0], config.Heads, config.HeadSize, config.StateSize]));

    private static Tensor PerHead(Tensor like, double[] values) => like.Backend.Tensor(new TensorType(like.DType, [values.Length]), values);
}
