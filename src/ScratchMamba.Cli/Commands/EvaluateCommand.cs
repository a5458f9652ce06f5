using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;

namespace ScratchMamba.Cli.Commands;

/// <summary>evaluate: measures a model on text.</summary>
internal static class EvaluateCommand
{
    // Texts that are read token by token: so many that a device is busy.
    private const int RowsByTokens = 64;

    public static Verb Create()
    {
        Option<string> model = CommonOptions.Model(), device = CommonOptions.Device();
        Option<string[]> data = CommonOptions.Data();
        Option<int> length = CommonOptions.Count("--length", 256, "The windows' length: how many tokens the model sees at most before the one it predicts.");
        Option<string> type = CommonOptions.WeightType(), states = CommonOptions.StateType();
        Option<string?> trace = CommonOptions.Trace();
        var cures = new CureOptions();
        var verb = new Verb(
            "evaluate", "Measure a model's loss on text.", "scratchmamba evaluate --model runs/quickstart --data README.md", [model, data, length, .. cures.All, device, CommonOptions.Threads, type, states, trace]);
        verb.SetAction((parsed, cancellation) =>
        {
            byte[] text = TextCorpus.ReadFiles(parsed.GetValue(data)!);
            using Backend opened = Devices.Open(parsed, device);
            using var traced = new Trace(opened, parsed.GetValue(trace), parsed.InvocationConfiguration.Output);
            Backend backend = traced.Backend;
            DType? weights = CommonOptions.WeightTypeOf(parsed.GetValue(type)!, parsed.GetValue(model)!);
            Mamba2Model loaded = Checkpoint.Load(parsed.GetValue(model)!, backend, weights: weights);
            Tokenizer tokenizer = Checkpoint.LoadTokenizer(parsed.GetValue(model)!, loaded.Config);
            cures.Apply(parsed, loaded, tokenizer);
            loaded.StateType = CommonOptions.StateTypeOf(parsed.GetValue(states)!);
            int[] tokens = tokenizer.Encode(text);
            Evaluation result = Evaluator.Evaluate(loaded, tokens, parsed.GetValue(length), loaded.StateType == loaded.DType ? 8 : RowsByTokens, cancellation);
            TextWriter output = parsed.InvocationConfiguration.Output;
            output.WriteLine($"tokens         {result.Tokens:#,0}");
            output.WriteLine($"loss           {result.Loss:0.0000} nats per token");
            output.WriteLine($"perplexity     {result.Perplexity:0.000}");
            if (weights is not null && parsed.GetResult(type) is { Implicit: false })
            {
                Mamba2Model exact = Checkpoint.Load(parsed.GetValue(model)!, backend);
                cures.Apply(parsed, exact, tokenizer);
                double whole = Evaluator.Evaluate(exact, tokens, parsed.GetValue(length), cancellation: cancellation).Perplexity;
                output.WriteLine($"in float32     {whole:0.000}, so {weights} changes the perplexity by {result.Perplexity / whole - 1:+0.000 %;-0.000 %}");
            }
            output.WriteLine($"bits per byte  {result.BitsPerByte(text.Length - tokenizer.Decode(tokens[0]).Length):0.0000}");
            return Task.FromResult(CommandLine.Done);
        });
        return verb;
    }
}
