namespace ScratchMamba.Mamba2.Cures;

/// <summary>
/// What to change in the recurrence <c>hₜ = αₜ hₜ₋₁ + Δₜ xₜ Bₜᵀ</c> of a trained model so that it forgets: <c>model.Cure = new Cure { Retention = 0.99 }</c>.
/// Cures are composed by setting several; each applies alike to whole sequences, to single tokens, and to gradients. The default changes nothing.
/// Source: Chen, Zhang, Hu, Han, Liu and Sun, "Stuffed Mamba", arXiv 2410.07145, section 5, and the works named below.
/// </summary>
/// <remarks>
/// The factors and the filter say what is kept and inserted. At most one of <see cref="Window"/>, <see cref="Reset"/> and <see cref="Stagger"/> says what becomes of the state;
/// <see cref="Normalization"/> goes with the first two factors, the filter and <see cref="Reset"/>.
/// </remarks>
public sealed record Cure
{
    /// <summary>The cure that changes nothing.</summary>
    public static Cure None { get; } = new();

    /// <summary>m_α in (0, 1]: <c>αₜ ← m_α αₜ</c>, computed as log αₜ + log m_α. A model trained on T tokens may want exp(−0.82 / T).</summary>
    public PerLayer Retention { get; init; } = PerLayer.One;

    /// <summary>m_B ≥ 0: what a token inserts is multiplied by it, <c>Bₜ ← m_B Bₜ</c>.</summary>
    public PerLayer Insertion { get; init; } = PerLayer.One;

    /// <summary>c &gt; 0: <c>Δₜ ← c Δₜ</c> after the softplus, which changes retention and insertion. Source: LongMamba (2023) with c = 0.5; MambaExtend (2025) per layer.</summary>
    public PerLayer TimeStep { get; init; } = PerLayer.One;

    /// <summary>s &gt; 0: <c>A ← s A</c>, which makes <c>αₜ ← αₜˢ</c> and leaves insertion as it is. Source: Lu et al., "Mamba Modulation" (2025).</summary>
    public PerLayer Decay { get; init; } = PerLayer.One;

    /// <summary>Tokens with a small Δ pass the heads with a long memory by. Null for none.</summary>
    public TokenFilter? Filter { get; init; }

    /// <summary>A limit on the norm of each head's state. Null for none.</summary>
    public StateNormalization? Normalization { get; init; }

    /// <summary>r: every layer's state holds what its last r tokens inserted, exactly. 0 for all.</summary>
    public int Window { get; init; }

    /// <summary>R: the state is emptied before tokens R, 2R, …; 0 for never.</summary>
    public int Reset { get; init; }

    /// <summary>R: two states are emptied every R tokens, half a period apart, and the older is read: it holds the last R/2 to R tokens. Even; 0 for none.</summary>
    public int Stagger { get; init; }

    /// <summary>Whether nothing is changed.</summary>
    public bool IsNeutral => IsStateless && Filter is null && Retention.IsNeutral && Insertion.IsNeutral && TimeStep.IsNeutral && Decay.IsNeutral;

    /// <summary>Whether it asks for norms or thresholds that are measured on text: see <see cref="Calibration"/>.</summary>
    public bool NeedsCalibration => Normalization is { IsRelative: true, Norms: null } || Filter is { Thresholds: null };

    /// <summary>Whether the position of a token plays no part, and nothing is carried but the state.</summary>
    internal bool IsStateless => Window == 0 && Reset == 0 && Stagger == 0 && Normalization is null;

    /// <summary>Reads the text form, for example <c>retention=0.99,insertion=0.75,window=64</c>; see <see cref="CureText"/>.</summary>
    /// <exception cref="FormatException">The text is not understood; the message says what and how it should be.</exception>
    public static Cure Parse(string text) => CureText.Parse(text);

    /// <summary>The text form, which <see cref="Parse"/> reads; <c>none</c> where nothing is changed. Measured norms and thresholds are not part of it.</summary>
    public override string ToString() => CureText.Format(this);

    /// <summary>Throws unless the values make sense for a model.</summary>
    /// <exception cref="ArgumentException">They do not; the message says which.</exception>
    public Cure Validated(Mamba2Config config)
    {
        Check(nameof(Retention), Retention, value => value is > 0 and <= 1, "above 0 and at most 1");
        Check(nameof(Insertion), Insertion, value => value >= 0, "0 or a positive number");
        Check(nameof(TimeStep), TimeStep, value => value > 0, "a positive number");
        Check(nameof(Decay), Decay, value => value > 0, "a positive number");
        Require(Window >= 0 && Reset >= 0 && Stagger >= 0, "window, reset and stagger are numbers of tokens, or 0");
        Require(Stagger % 2 == 0, $"stagger must be even: the two states are half a period apart; it is {Stagger}");
        Require((Window > 0 ? 1 : 0) + (Reset > 0 ? 1 : 0) + (Stagger > 0 ? 1 : 0) <= 1, "window, reset and stagger exclude each other");
        Require(Normalization is null || Window == 0 && Stagger == 0, "norm goes with neither window nor stagger: what leaves them is not what was inserted once a state has been scaled");
        Require(Window == 0 || !config.LearnsInitialState, "window knows only what tokens inserted; this model's state begins with a learned value");
        Require(!NeedsCalibration, "norms or thresholds have not been measured: calibrate it on text that the model reads well");
        Normalization?.Validate(config);
        Filter?.Validate(config);
        return this;

        void Check(string name, PerLayer factors, Func<double, bool> holds, string rule)
        {
            Require(factors.Count == 1 || factors.Count == config.Layers, $"{name.ToLowerInvariant()} has {factors.Count} factors; the model has {config.Layers} layers");
            foreach (double factor in factors)
                Require(double.IsFinite(factor) && holds(factor), $"{name.ToLowerInvariant()} must be {rule}; it is {factor}");
        }
    }

    internal static void Require(bool holds, string fault)
    {
        if (!holds)
            throw new ArgumentException($"The cure cannot be applied: {fault}.");
    }
}
