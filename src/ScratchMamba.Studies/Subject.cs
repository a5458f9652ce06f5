using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies;

/// <summary>Which models a study looks at, and what it has them read.</summary>
/// <param name="Models">The models: trained alike with different seeds, or one that is there.</param>
/// <param name="Data">What they have learned from, or something like it.</param>
/// <param name="Repeated">A prompt of the same language that repeats itself.</param>
/// <param name="Passkey">Prompts of the same language that hide something.</param>
/// <param name="TrainingLength">The length that they were trained on.</param>
/// <param name="Model">What they are, for a report.</param>
/// <param name="Seeds">Which seeds, for a report.</param>
public sealed record Subject(IReadOnlyList<ModelSource> Models, StudyData Data, RepeatedTokens Repeated, Passkey Passkey, int TrainingLength, string Model, string Seeds)
{
    /// <summary>Models that are trained for the studies.</summary>
    public static Subject Trained(StudyOptions options)
    {
        IReadOnlyList<TrainingPlan> plans = options.Plans;
        string seeds = plans.Count == 1 ? $"seed {plans[0].Seed}" : $"seeds {plans[0].Seed} to {plans[^1].Seed}";
        (RepeatedTokens repeated, Passkey passkey) = Prompts(options.Data, options.Tokenizer);
        return new Subject([.. plans.Select(plan => new ModelSource(new TrainingJob(plan)))], options.Data, repeated, passkey, options.Length, plans[0].Model, seeds);
    }

    /// <summary>A model that is there.</summary>
    /// <param name="folder">Its checkpoint.</param>
    /// <param name="data">What it reads.</param>
    /// <param name="trainingLength">The length that it was trained on.</param>
    /// <param name="tokenizer">What makes tokens of text; bytes by default.</param>
    /// <exception cref="CheckpointException">There is none.</exception>
    /// <exception cref="ArgumentException">Its vocabulary is smaller than that of the data.</exception>
    public static Subject Given(string folder, StudyData data, int trainingLength, Tokenizer? tokenizer = null)
    {
        Mamba2Config config = Checkpoint.LoadConfig(folder);
        if (config.VocabularySize < data.VocabularySize)
            throw new ArgumentException($"The model's vocabulary has {config.VocabularySize} tokens; {data.Name} needs {data.VocabularySize}.");
        (RepeatedTokens repeated, Passkey passkey) = Prompts(data, tokenizer ?? new ByteTokenizer());
        string model = $"{folder}, {config.ParameterCount:#,0} parameters, {config.Layers} layers, width {config.Width}, N = {config.StateSize}, T = {trainingLength}";
        return new Subject([new ModelSource(null, Path: folder)], data, repeated, passkey, trainingLength, model, "one model");
    }

    private static (RepeatedTokens, Passkey) Prompts(StudyData data, Tokenizer tokenizer) => data is StreamingRecall recall
        ? (RepeatedTokens.Pair(recall), new RecallPasskey(recall))
        : (RepeatedTokens.Newlines(tokenizer), new TextPasskey(tokenizer));
}
