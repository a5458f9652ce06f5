namespace ScratchMamba.Mamba2;

/// <summary>
/// The sizes and options of a Mamba-2 language model. Defaults are those of the published models (mamba_ssm);
/// symbols: D width, E = Expansion · D, H heads, P head size, N state size, G groups, K taps.
/// </summary>
public sealed record Mamba2Config
{
    private const int MostLayers = 4096;

    /// <summary>The number of token ids: rows of the embedding.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>D: the width of the residual stream.</summary>
    public required int Width { get; init; }

    /// <summary>The number of blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>N: the size of the state of one channel.</summary>
    public int StateSize { get; init; } = 128;

    /// <summary>P: the channels of one head.</summary>
    public int HeadSize { get; init; } = 64;

    /// <summary>E / D.</summary>
    public int Expansion { get; init; } = 2;

    /// <summary>G: heads are divided into this many groups that share B and C; head h is in group ⌊h / (H/G)⌋.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>K: the taps of the causal convolution.</summary>
    public int ConvolutionTaps { get; init; } = 4;

    /// <summary>Q: the positions that the scan treats at once. It changes speed and memory, not results.</summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>The smallest time step that dt_bias is initialised for.</summary>
    public double TimeStepMin { get; init; } = 0.001;

    /// <summary>The largest time step that dt_bias is initialised for.</summary>
    public double TimeStepMax { get; init; } = 0.1;

    /// <summary>A lower bound on the time steps that dt_bias is initialised for.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary>Time steps are clamped to at least this.</summary>
    public double TimeStepLow { get; init; }

    /// <summary>Time steps are clamped to at most this.</summary>
    public double TimeStepHigh { get; init; } = double.PositiveInfinity;

    /// <summary>The range that −A is drawn from.</summary>
    public (double Low, double High) DecayRange { get; init; } = (1, 16);

    /// <summary>Whether log(−A) is uniform on its range, rather than −A: with a range that begins near zero, heads that retain for long and short are equally likely.</summary>
    public bool DrawsDecayInLog { get; init; }

    /// <summary>Whether the two projections of a block have biases.</summary>
    public bool ProjectionBias { get; init; }

    /// <summary>Whether the convolution has a bias.</summary>
    public bool ConvolutionBias { get; init; } = true;

    /// <summary>Whether the skip connection D has a value for each channel, [H, P], rather than for each head, [H].</summary>
    public bool SkipPerChannel { get; init; }

    /// <summary>Whether the gated output is normalised; without, it is y · SiLU(z).</summary>
    public bool GatedNorm { get; init; } = true;

    /// <summary>Whether the normalisation comes before the gate: RmsNorm(y) · SiLU(z) instead of RmsNorm(y · SiLU(z)).</summary>
    public bool NormBeforeGate { get; init; }

    /// <summary>
    /// Whether the gated norm takes its mean square over each group of channels (mamba_ssm) rather than over the whole width (Hugging Face). The same where G = 1.
    /// </summary>
    public bool NormPerGroup { get; init; } = true;

    /// <summary>ε of every normalisation.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Whether the output projection is the embedding.</summary>
    public bool TiedEmbeddings { get; init; } = true;

    /// <summary>Whether each layer's state starts from a learned parameter rather than from zero.</summary>
    public bool LearnsInitialState { get; init; }

    /// <summary>The standard deviation of the embedding's initial values.</summary>
    public double EmbeddingDeviation { get; init; } = 0.02;

    /// <summary>Whether out_proj's initial values are divided by √Layers.</summary>
    public bool RescalesOutput { get; init; } = true;

    /// <summary>E: the channels of a block.</summary>
    public int InnerWidth => Expansion * Width;

    /// <summary>H: the heads of a block.</summary>
    public int Heads => InnerWidth / HeadSize;

    /// <summary>The channels that pass the convolution: x, B and C.</summary>
    public int ConvolutionWidth => InnerWidth + 2 * Groups * StateSize;

    /// <summary>The rows of in_proj: z, x, B, C and Δ.</summary>
    public int ProjectionWidth => InnerWidth + ConvolutionWidth + Heads;

    /// <summary>The numbers that one sequence carries from token to token, convolution included.</summary>
    public long StateCount => Layers * ((long)Heads * HeadSize * StateSize + (long)(ConvolutionTaps - 1) * ConvolutionWidth);

    /// <summary>The number of parameters.</summary>
    public long ParameterCount
    {
        get
        {
            long mixer = (long)ProjectionWidth * Width + (ProjectionBias ? ProjectionWidth + Width : 0)
                + (long)ConvolutionWidth * (ConvolutionTaps + (ConvolutionBias ? 1 : 0))
                + 2 * Heads + (SkipPerChannel ? InnerWidth : Heads)
                + (GatedNorm ? InnerWidth : 0)
                + (LearnsInitialState ? (long)InnerWidth * StateSize : 0)
                + (long)InnerWidth * Width;
            return Layers * (mixer + Width) + Width + (TiedEmbeddings ? 1L : 2L) * VocabularySize * Width;
        }
    }

    /// <summary>Throws unless the sizes fit each other.</summary>
    /// <exception cref="ArgumentException">They do not; the message names the sizes and the rule.</exception>
    public Mamba2Config Validated()
    {
        Positive(VocabularySize, "vocabulary size");
        Positive(Width, "width");
        Positive(Layers, "number of layers");
        Positive(StateSize, "state size");
        Positive(HeadSize, "head size");
        Positive(Expansion, "expansion");
        Positive(Groups, "number of groups");
        Positive(ConvolutionTaps, "number of convolution taps");
        Positive(ChunkSize, "chunk size");
        long inner = (long)Expansion * Width;
        Require(inner % HeadSize == 0, $"the inner width {Expansion} · {Width} = {inner} is not a multiple of the head size {HeadSize}");
        Require(inner / HeadSize % Groups == 0, $"{inner / HeadSize} heads cannot be divided into {Groups} groups");
        Require(Layers <= MostLayers, $"{Layers} layers are more than {MostLayers}");
        // In 128 bits: sizes from a damaged file may be anything.
        Int128 convolved = inner + 2 * (Int128)Groups * StateSize, projected = inner + convolved + inner / HeadSize;
        Require(projected * Width <= int.MaxValue && (long)VocabularySize * Width <= int.MaxValue && convolved * ConvolutionTaps <= int.MaxValue,
            "a weight matrix would have more than 2³¹ elements");
        Require((Int128)inner * StateSize <= int.MaxValue, "the state of a layer would have more than 2³¹ elements");
        Require(NormEpsilon >= 0 && double.IsFinite(NormEpsilon), $"the normalisation's epsilon is {NormEpsilon}");
        Require(TimeStepLow <= TimeStepHigh && TimeStepHigh > 0, $"the time step limits [{TimeStepLow}, {TimeStepHigh}] are empty");
        Require(TimeStepMin > 0 && TimeStepMin <= TimeStepMax && double.IsFinite(TimeStepMax), $"the time step range [{TimeStepMin}, {TimeStepMax}] is not a range of positive numbers");
        Require(DecayRange.Low > 0 && DecayRange.Low <= DecayRange.High && double.IsFinite(DecayRange.High), $"the decay range {DecayRange} is not a range of positive numbers");
        return this;

        static void Positive(int value, string what) => Require(value > 0, $"the {what} is {value}");
    }

    private static void Require(bool holds, string fault)
    {
        if (!holds)
            throw new ArgumentException($"The model's sizes do not fit: {fault}.");
    }
}
