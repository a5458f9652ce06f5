using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2;

/// <summary>One residual block: <c>u + Mixer(RmsNorm(u))</c>.</summary>
public sealed class Mamba2Block : Module
{
    private readonly Parameter normWeight;
    private readonly double epsilon;

    /// <summary>A block with fresh parameters.</summary>
    public Mamba2Block(Mamba2Config config, Initializer init)
    {
        normWeight = init.Constant([config.Width], 1, decays: false);
        epsilon = config.NormEpsilon;
        Mixer = new Mamba2Mixer(config, init);
    }

    /// <summary>The layer inside the residual connection.</summary>
    public Mamba2Mixer Mixer { get; }

    /// <inheritdoc/>
    public override IEnumerable<(string Path, Parameter Parameter)> Parameters() => [("norm.weight", normWeight), .. Under("mixer", Mixer)];

    /// <summary>The block over whole sequences, [B, L, D]; see <see cref="Mamba2Mixer.Forward"/>.</summary>
    public (Tensor Output, LayerState State) Forward(Tensor u, LayerState? state = null, Tensor? sequence = null) => ForwardPadded(u, state, sequence, padding: null);

    internal (Tensor Output, LayerState State) ForwardPadded(Tensor u, LayerState? state, Tensor? sequence, Padding? padding)
    {
        using var scope = Scope.Temporaries();
        (Tensor output, LayerState next) = Mixer.ForwardPadded(u.RmsNorm(normWeight.Value, epsilon, Mixer.Activations), state, sequence, padding, residual: u);
        return (scope.Keep(output), Keep(scope, next));
    }

    /// <summary>The block for one token, [B, D]; see <see cref="Mamba2Mixer.Step"/>.</summary>
    public (Tensor Output, LayerState State) Step(Tensor u, LayerState? state = null)
    {
        using var scope = Scope.Temporaries();
        (Tensor mixed, LayerState next) = Mixer.Step(u.RmsNorm(normWeight.Value, epsilon), state);
        return (scope.Keep(u + mixed), Keep(scope, next));
    }

    /// <summary>The block for one token, [B, D]; see <see cref="Mamba2Mixer.StepInPlace"/>.</summary>
    internal Tensor StepInPlace(Tensor u, LayerState state)
    {
        using var scope = new Scope();
        return scope.Keep(Mixer.StepInPlace(u, normWeight.Value, state));
    }

    private static LayerState Keep(Scope scope, LayerState state)
    {
        scope.Keep([.. state.Tensors]);
        return state;
    }
}

/// <summary>A Mamba-2 language model: embedding, residual blocks, a last normalisation, and a projection onto the vocabulary.</summary>
public sealed class Mamba2Model : Module
{
    private const int RowTile = 128;

    private readonly Parameter embedding, lastNorm;
    private readonly Parameter? head;
    private readonly Mamba2Block[] blocks;
    private readonly string[] places;
    private DType? stateType;
    private bool isRecomputing;

    /// <summary>A model with fresh parameters, drawn by the published rules.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="backend">Where it lives.</param>
    /// <param name="type">F32, or F64 for an oracle.</param>
    /// <param name="seed">The same seed gives the same parameters on every backend; null leaves them zero, to be read from a file or only counted.</param>
    /// <param name="weights">BF16, F16, Q8_0 or Q4_0 to hold the weight matrices and the embedding in so few bits, for inference: less memory, and less time for a token, which mostly goes to reading them. Computation stays in F32.</param>
    /// <exception cref="ArgumentException">The sizes do not fit each other.</exception>
    public Mamba2Model(Mamba2Config config, Backend backend, DType type = DType.F32, ulong? seed = 0, DType? weights = null)
    {
        Config = config.Validated();
        Backend = backend;
        DType = type;
        WeightType = weights ?? type;
        var init = new Initializer(backend, type, seed, weights);
        embedding = init.Normal([config.VocabularySize, config.Width], config.EmbeddingDeviation, decays: false);
        blocks = [.. Enumerable.Range(0, config.Layers).Select(_ => new Mamba2Block(config, init))];
        places = [.. Enumerable.Range(0, config.Layers).Select(layer => $"backbone.layers.{layer}")];
        lastNorm = init.Constant([config.Width], 1, decays: false);
        head = config.TiedEmbeddings ? null : init.Uniform([config.VocabularySize, config.Width], 1 / Math.Sqrt(config.Width), decays: true);
    }

    /// <summary>Sizes and options.</summary>
    public Mamba2Config Config { get; }

    /// <summary>Where the model lives.</summary>
    public Backend Backend { get; }

    /// <summary>The element type of parameters and activations.</summary>
    public DType DType { get; }

    /// <summary>The element type that weight matrices are held in.</summary>
    public DType WeightType { get; }

    /// <summary>
    /// The type that <see cref="EmptyState"/> holds the states of heads in, which stays theirs from token to token: F32, or BF16 or F16 for half the memory and, where many texts are written
    /// at a time, less of it to read and write. Each new state is computed in F32 and rounded to the nearest number. What is less than half a unit in the last place of a
    /// state's number then changes nothing, neither decay nor input: BF16 has 8 bits, F16 has 11 and numbers up to 65,504.
    /// </summary>
    /// <exception cref="ArgumentException">The model does not compute in F32, or states are not held in that type.</exception>
    public DType StateType
    {
        get => stateType ?? DType;
        set => stateType = value == DType || (value.IsNarrow() && DType == DType.F32)
            ? value
            : throw new ArgumentException($"States of a model that computes in {DType} are held in {DType}{(DType == DType.F32 ? ", BF16 or F16" : "")}, not in {value}.");
    }

    /// <summary>
    /// Of how many blocks, from the first on, the forward pass keeps only the input for the backward pass, and computes them again there: memory for time, the same numbers.
    /// The first, because what the others keep is gone when their turn comes.
    /// </summary>
    public int RecomputedLayers { get; set; }

    /// <summary>What is trained beside the model's own parameters; null for nothing.</summary>
    public LowRankAdaptation? Adaptation { get; private set; }

    /// <summary>Freezes the model and gives its projections adapters, which are trained alone. They change nothing until they are trained.</summary>
    /// <param name="how">Their sizes, and which projections have one.</param>
    /// <param name="seed">Of their initial values; null for zeros, to be read from a file.</param>
    /// <exception cref="ArgumentException">There is no such adaptation.</exception>
    /// <exception cref="InvalidOperationException">The model is adapted already.</exception>
    public void Adapt(LowRankAdaptation how, ulong? seed)
    {
        if (Adaptation is not null)
            throw new InvalidOperationException("The model has adapters already.");
        Adaptation = how.Validated();
        foreach ((_, Parameter parameter) in Parameters())
            parameter.IsFrozen = true;
        // Not the numbers that the model's own parameters were drawn from.
        var init = new Initializer(Backend, DType, ~seed);
        foreach (Mamba2Block block in blocks)
            block.Mixer.Adapt(how, init);
    }

    /// <summary>What is done to the recurrence of every layer so that it forgets. States made with one cure are not continued with another.</summary>
    /// <exception cref="ArgumentException">The cure does not fit the model, or is not calibrated; the message says why.</exception>
    public Cure Cure
    {
        get;
        set
        {
            field = value.Validated(Config);
            for (int layer = 0; layer < blocks.Length; layer++)
                blocks[layer].Mixer.Cure = LayerCure.Of(value, Config, layer);
        }
    } = Cure.None;

    /// <summary>Is shown the inside of every layer whenever the model reads: see <see cref="IObserver"/>. Null, the default, for nobody; it changes no result of whole sequences, and of single tokens no more than the last digits, but takes time.</summary>
    public IObserver? Observer
    {
        get;
        set
        {
            field = value;
            for (int i = 0; i < blocks.Length; i++)
            {
                int layer = i;
                blocks[i].Mixer.Observer = value is null ? null : observation =>
                {
                    if (!isRecomputing)
                        value.Observe(layer, observation);
                };
            }
        }
    }

    /// <summary>Whether states say how much every head retains of its first token: <see cref="LayerState.LogRetention"/>.</summary>
    public bool TracksRetention
    {
        get;
        set
        {
            field = value;
            foreach (Mamba2Block block in blocks)
                block.Mixer.TracksRetention = value;
        }
    }

    /// <summary>How exactly the matrices of projections and scans, and of their gradients, have to be multiplied; everything else is float32, but with <see cref="MatMulPrecision.Bfloat16"/> and <see cref="MatMulPrecision.Float16"/> activations between the operations of a sequence are held in 16 bits.</summary>
    public MatMulPrecision Precision
    {
        get;
        set
        {
            field = value;
            foreach (Mamba2Block block in blocks)
                block.Mixer.Precision = value;
        }
    }

    /// <summary>
    /// The most bytes of logits that <see cref="Losses"/> holds at once. What exceeds it is computed in blocks of rows, each again for its gradient,
    /// so that a vocabulary of 50,000 does not take more memory than the layers do.
    /// </summary>
    public long LogitsBytes { get; set; } = 1L << 31;

    /// <summary>The parameters under the names that Hugging Face's checkpoints give them.</summary>
    public override IEnumerable<(string Path, Parameter Parameter)> Parameters()
    {
        yield return ("backbone.embeddings.weight", embedding);
        for (int i = 0; i < blocks.Length; i++)
        {
            foreach ((string path, Parameter parameter) in Under($"backbone.layers.{i}", blocks[i]))
                yield return (path, parameter);
        }
        yield return ("backbone.norm_f.weight", lastNorm);
        if (head is not null)
            yield return ("lm_head.weight", head);
    }

    /// <summary>The state before the first token, with the learned initial states, and what the cure carries; of <see cref="StateType"/>.</summary>
    public Mamba2State EmptyState(int batch) => new([.. blocks.Select(block => block.Mixer.EmptyState(batch).HeldIn(StateType))]);

    /// <summary>The logits of the token after each position.</summary>
    /// <param name="tokens">Token ids, I32 [B, L].</param>
    /// <param name="state">What is carried from the tokens before; null at the start.</param>
    /// <param name="sequence">The number of the document of each position, I32 [B, L], where rows hold several; see <see cref="Mamba2Mixer.Forward"/>.</param>
    /// <returns>Logits, [B, L, vocabulary], and the state after the last position.</returns>
    public (Tensor Logits, Mamba2State State) Forward(Tensor tokens, Mamba2State? state = null, Tensor? sequence = null)
    {
        (Tensor hidden, Mamba2State next) = Hidden(tokens, state, sequence);
        return (Logits(hidden), next);
    }

    /// <summary>The cross entropy of each position's label, in nats, [B, L]; 0 where the label is negative. Large vocabularies are taken in blocks of rows: see <see cref="LogitsBytes"/>.</summary>
    /// <param name="tokens">Token ids, I32 [B, L].</param>
    /// <param name="labels">The token after each, I32 [B, L]; negative where none is to be predicted.</param>
    /// <param name="state">What is carried from the tokens before; null at the start.</param>
    /// <param name="sequence">The number of the document of each position; see <see cref="Forward"/>.</param>
    public Tensor Losses(Tensor tokens, Tensor labels, Mamba2State? state = null, Tensor? sequence = null) => LossesAndState(tokens, labels, state, sequence).Losses;

    /// <summary>The losses that <see cref="Losses"/> gives, and the state after the last position.</summary>
    public (Tensor Losses, Mamba2State State) LossesAndState(Tensor tokens, Tensor labels, Mamba2State? state = null, Tensor? sequence = null)
    {
        (Tensor hidden, Mamba2State next) = Hidden(tokens, state, sequence);
        // Products of activations rounded to 16 bits, with the weight rounded once for all blocks, give logits of 16 bits.
        Tensor matrix = (head ?? embedding).Value;
        DType type = Precision.Activations(DType, matrix.DType);
        Tensor weight = matrix.Cast(type);
        int rows = checked((int)tokens.Count), most = (int)Math.Clamp(LogitsBytes / (type.Size() * (long)Config.VocabularySize), 1, rows);
        // Whole tiles of the kernels that multiply.
        if (most < rows && most > RowTile)
            most -= most % RowTile;
        if (most == rows)
            return (LossesOf(hidden, labels, weight), next);
        int[] sizes = [.. Enumerable.Range(0, (rows + most - 1) / most).Select(block => Math.Min(most, rows - block * most))];
        Tensor[] inputs = hidden.Reshape([rows, Config.Width]).Split(0, sizes), targets = labels.Reshape([rows]).Split(0, sizes);
        Tensor[] losses = [.. inputs.Zip(targets, (input, target) => Differentiation.Recompute(given => [LossesOf(given[0], given[1], given[2])], input, target, weight)[0])];
        return (TensorOperations.Concatenate(0, losses).Reshape(tokens.Shape), next);
    }

    /// <summary>The logits of the token after the last position only, [B, vocabulary], and the state: what generation needs of a prompt.</summary>
    /// <param name="tokens">Token ids, I32 [B, L].</param>
    /// <param name="state">What is carried from the tokens before; null at the start.</param>
    public (Tensor Logits, Mamba2State State) Prefill(Tensor tokens, Mamba2State? state = null)
    {
        (Tensor hidden, Mamba2State next) = Hidden(tokens, state, null);
        Tensor last = hidden.Slice(1, tokens.Shape[1] - 1, 1).Reshape([tokens.Shape[0], Config.Width]);
        return (Logits(last), next);
    }

    /// <summary>The logits of the token after each sequence's last, [B, vocabulary], and the states there, of sequences of different lengths.</summary>
    /// <param name="tokens">Token ids, I32 [B, L]; those behind a sequence's end are read, but change nothing.</param>
    /// <param name="lengths">How many tokens each sequence has, 1 … L.</param>
    /// <param name="state">What is carried from the tokens before; null at the start.</param>
    /// <exception cref="ArgumentException">There is not one such length for each sequence.</exception>
    /// <exception cref="InvalidOperationException">A cure or an observer wants to know what is at every position.</exception>
    public (Tensor Logits, Mamba2State State) Prefill(Tensor tokens, int[] lengths, Mamba2State? state = null)
    {
        if (tokens.Shape.Rank != 2 || lengths.Length != tokens.Shape[0] || lengths.Any(length => length < 1 || length > tokens.Shape[1]))
            throw new ArgumentException($"There must be a length from 1 to L for each sequence of tokens [B, L]; there are [{string.Join(", ", lengths)}] for {tokens.Type}.");
        if (!TakesPadding)
            throw new InvalidOperationException("Sequences of different lengths are read together only where no cure and no observer counts positions.");
        var padding = new Padding(Backend, DType, lengths, tokens.Shape[1]);
        (Tensor hidden, Mamba2State next) = Hidden(tokens, state ?? EmptyState(lengths.Length), null, padding);
        return (Logits(hidden.Reshape([checked((int)tokens.Count), Config.Width]).Gather(padding.Ends)), next);
    }

    /// <summary>The logits of the next token, [B, vocabulary], from one token of each sequence, I32 [B].</summary>
    public (Tensor Logits, Mamba2State State) Step(Tensor token, Mamba2State? state = null)
    {
        Tensor u = Embedded(token);
        var next = new LayerState[blocks.Length];
        for (int i = 0; i < blocks.Length; i++)
            (u, next[i]) = blocks[i].Step(u, state?.Layers[i]);
        return (Logits(u), new Mamba2State(next));
    }

    /// <summary>The same as <see cref="Step"/>, but the state is overwritten with the next one, and nothing is recorded: for inference.</summary>
    /// <param name="token">I32 [B].</param>
    /// <param name="state">What is carried from the tokens before, and then what the next token needs.</param>
    /// <returns>The logits of the next token, [B, vocabulary].</returns>
    public Tensor StepInPlace(Tensor token, Mamba2State state) =>
        StepInPlace(token, state, u => u.NormLinear(lastNorm.Value, (head ?? embedding).Value, Config.NormEpsilon, precision: Precision), logits => logits);

    /// <summary>The same, but of the logits only where they are largest is returned, the first of equals: the next token that is written greedily, I32 [B].</summary>
    public Tensor NextInPlace(Tensor token, Mamba2State state) => StepInPlace(
        token, state, u => u.NormLinearArgMax(lastNorm.Value, (head ?? embedding).Value, Config.NormEpsilon, Precision), logits => logits.ArgMax());

    /// <summary>A step, and of its result what is asked for: of the last block's output, or of the logits.</summary>
    private Tensor StepInPlace(Tensor token, Mamba2State state, Func<Tensor, Tensor> ofOutput, Func<Tensor, Tensor> ofLogits)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        if (!blocks.All(block => block.Mixer.StepsAtOnce))
        {
            (Tensor logits, Mamba2State next) = Step(token, state);
            state.CopyFrom(next);
            return scope.Keep(ofLogits(logits));
        }
        Tensor u = Embedded(token);
        for (int i = 0; i < blocks.Length; i++)
            u = blocks[i].StepInPlace(u, state.Layers[i]);
        return scope.Keep(ofOutput(u));
    }

    /// <summary>Whether a step is the same operations for every token, so that it can be captured.</summary>
    internal bool StepsAlike => Observer is null && blocks.All(block => block.Mixer.Cure?.IsStateless ?? true);

    /// <summary>Whether sequences of different lengths can be read together.</summary>
    internal bool TakesPadding => blocks.All(block => block.Mixer.TakesPadding);

    private (Tensor Hidden, Mamba2State State) Hidden(Tensor tokens, Mamba2State? state, Tensor? sequence, Padding? padding = null)
    {
        if (tokens.Shape.Rank != 2 || tokens.Count == 0)
            throw new ShapeException($"{nameof(Mamba2Model)}: tokens must be [batch, length], not empty; got {tokens.Type}");
        Tensor u = Embedded(tokens);
        var next = new LayerState[blocks.Length];
        for (int i = 0; i < blocks.Length; i++)
        {
            using Place.Mark place = Place.Enter(places[i]);
            (u, next[i]) = padding is null ? Block(i, u, state?.Layers[i], sequence) : blocks[i].ForwardPadded(u, state?.Layers[i], sequence, padding);
        }
        return (u, new Mamba2State(next));
    }

    private (Tensor Output, LayerState State) Block(int layer, Tensor u, LayerState? state, Tensor? sequence)
    {
        Mamba2Block block = blocks[layer];
        if (layer >= RecomputedLayers)
            return block.Forward(u, state, sequence);
        LayerState? next = null;
        Tensor[] outputs = Differentiation.Recompute(
            given =>
            {
                // Computed again for its gradient, a block is not shown a second time.
                isRecomputing = next is not null;
                (Tensor output, next) = block.Forward(given[0], state?.With(given.AsSpan(1)), sequence);
                isRecomputing = false;
                return [output, .. next.Tensors];
            },
            [u, .. state?.Tensors ?? []]);
        return (outputs[0], next!.With(outputs.AsSpan(1)));
    }

    private Tensor Embedded(Tensor tokens)
    {
        using Place.Mark place = Place.Enter("backbone.embeddings");
        return embedding.Value.Gather(tokens, DType);
    }

    private Tensor Logits(Tensor hidden)
    {
        using Place.Mark place = Place.Enter("lm_head");
        return hidden.RmsNorm(lastNorm.Value, Config.NormEpsilon).MatMul((head ?? embedding).Value, transposeB: true, precision: Precision);
    }

    private Tensor LossesOf(Tensor hidden, Tensor labels, Tensor weight)
    {
        using Place.Mark place = Place.Enter("lm_head");
        return hidden.RmsNorm(lastNorm.Value, Config.NormEpsilon, weight.DType).MatMul(weight, transposeB: true, precision: Precision).CrossEntropy(labels);
    }
}
