using ScratchMamba.Mamba2;
using ScratchMamba.Studies.Data;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Training;

namespace ScratchMamba.Studies.Laboratory;

/// <summary>What a training does, beside learning to predict, so that the model learns to forget.</summary>
public enum TrainingMethod
{
    /// <summary>Nothing.</summary>
    Plain,

    /// <summary>State passing: sequences begin in the last states of the batch before, of other documents.</summary>
    StatePassing,

    /// <summary>Truncated backpropagation through time: batches continue each other's documents, and so do the states.</summary>
    Truncated,

    /// <summary>Sequences begin in normal numbers with the mean and deviation of each head's last states.</summary>
    FittedNoise,

    /// <summary>A penalty for heads that retain more than a fifth of the first token.</summary>
    Penalty,
}

/// <summary>Everything that determines a trained model: the same plan gives the same parameters on the same backend, to the last bit.</summary>
public sealed record TrainingPlan
{
    /// <summary>What it learns from.</summary>
    public required StudyData Data { get; init; }

    /// <summary>Sizes and initialisation.</summary>
    public required Mamba2Config Config { get; init; }

    /// <summary>The training length: tokens of a row.</summary>
    public required int Length { get; init; }

    /// <summary>The number of updates.</summary>
    public required int Steps { get; init; }

    /// <summary>Tokens of a batch.</summary>
    public int TokensPerStep { get; init; } = 4096;

    /// <summary>The largest learning rate; it rises over <see cref="WarmUp"/> steps.</summary>
    public double Rate { get; init; } = 3e-3;

    /// <summary>How it falls to 0: over the last tenth, or all the way.</summary>
    public LearningRateDecay Decay { get; init; } = LearningRateDecay.WarmupStableDecay;

    /// <summary>The steps of the warm-up.</summary>
    public int WarmUp { get; init; } = 100;

    /// <summary>The seed of parameters and data.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Steps after which the model is saved too, beside the end.</summary>
    public IReadOnlyList<int> Checkpoints { get; init; } = [];

    /// <summary>The plan whose model this one starts from; null for fresh parameters.</summary>
    public TrainingPlan? Start { get; init; }

    /// <summary>What it does so that the model learns to forget.</summary>
    public TrainingMethod Method { get; init; }

    /// <summary>Whether only scored tokens are learned: where one in thousands is, their gradient is lost among the others'.</summary>
    public bool ScoredOnly { get; init; }

    /// <summary>How exactly matrix products are computed.</summary>
    public MatMulPrecision Precision { get; init; }

    /// <summary>The share of rows that begin in the empty state all the same.</summary>
    public double EmptyShare { get; init; } = 0.05;

    /// <summary>The weight of the penalty.</summary>
    public double PenaltyWeight { get; init; } = 0.03;

    /// <summary>This plan and those that it starts from.</summary>
    public IEnumerable<TrainingPlan> WithStarts => Start is null ? [this] : [this, .. Start.WithStarts];

    /// <summary>The seed of its documents: no other than its own, and not those of the plan that it starts from.</summary>
    public ulong DocumentSeed => Start is null ? Seed : ~(Start.DocumentSeed * 3);

    /// <summary>How many batches continue a document, where they do.</summary>
    public int Segments { get => Method == TrainingMethod.Truncated ? field : 1; init; } = 12;

    /// <summary>Rows of a batch.</summary>
    public int Rows => Math.Max(1, TokensPerStep / Length);

    /// <summary>The tokens it learns from.</summary>
    public long Tokens => (long)Steps * Rows * Length;

    /// <summary>The settings in a line: two plans with the same line have the same model.</summary>
    public string Settings =>
        $"{Data.Name}; d {Config.Width}, layers {Config.Layers}, P {Config.HeadSize}, N {Config.StateSize}, −A {(Config.DrawsDecayInLog ? "log-uniform" : "uniform")} {Config.DecayRange.Low}–{Config.DecayRange.High}; "
        + $"T {Length}, {Rows} rows, {Steps} steps, rate {Rate}, warm-up {WarmUp}, seed {Seed}{(Checkpoints.Count > 0 ? $", saved at {string.Join(' ', Checkpoints)}" : "")}"
        + (Method == TrainingMethod.Plain ? "" : $"; {Method}, {(Method switch { TrainingMethod.Penalty => $"weight {PenaltyWeight}", TrainingMethod.Truncated => $"{Segments} segments, rows in turn", _ => $"empty {EmptyShare}" })}")
        + (Decay == LearningRateDecay.WarmupStableDecay ? "" : $"; rate falls {(Decay == LearningRateDecay.Linear ? "in a line" : Decay)}") + (ScoredOnly ? "; learns what is scored" : "") + (Precision == MatMulPrecision.Full ? "" : $"; {Precision}") + (Start is null ? "" : $"; after [{Start.Settings}]");

    /// <summary>The model in a few words, for a report.</summary>
    public string Model => $"Mamba-2, {Config.ParameterCount:#,0} parameters, {Config.Layers} layers, width {Config.Width}, N = {Config.StateSize}, T = {Length}, {Tokens / 1e6:0.0} M tokens";
}
