using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Cli;

/// <summary>Options that several commands share, and options that say in one line what is wrong with their value.</summary>
internal static class CommonOptions
{
    public static Option<string> Device() => Text("--device", "What computes: cpu, vulkan (the best device), vulkan:NUMBER or vulkan:NAME.", "cpu");

    /// <summary>One option for all commands, so that <see cref="Devices"/> finds it.</summary>
    public static Option<int> Threads { get; } = Count("--threads", 0, "How many threads compute on the CPU, 0 for one per core. Results do not depend on it.", least: 0);

    public static Option<string> Model() => Text("--model", "The folder of a checkpoint.");

    public static Option<string[]> Data() => new("--data") { Description = "Files or folders of UTF-8 text.", Required = true, AllowMultipleArgumentsPerToken = true };

    public static Option<ulong> Seed() => Parsed("--seed", 0UL, "The seed of everything random: the same seed gives the same results.", _ => true, $"a whole number from 0 to {ulong.MaxValue}");

    public static Option<string> Precision() =>
        new Option<string>("--precision")
        {
            Description = "How exactly matrices are multiplied where the device has matrix units: fp32, fp32-fast (three bfloat16 products, error 1e-5) bf16 or fp16, which hold activations in 16 bits too (fp16 scales the loss while it trains); sums, weights and states are fp32.",
            DefaultValueFactory = _ => "fp32",
        }.AcceptOnlyFromAmong("fp32", "fp32-fast", "bf16", "fp16");

    /// <summary>How many layers are computed again for their gradients.</summary>
    public static Option<int?> Recompute(string otherwise) => new("--recompute")
    {
        Description = $"Keep only the input of layers for the gradient, and compute them again there: on (all), off, or how many; {otherwise}. Far less memory, for all of them a third more time, and the same numbers.",
        Arity = ArgumentArity.ZeroOrOne,
        CustomParser = result => result.Tokens is not [{ Value: var word }] || word == "on" ? int.MaxValue
            : word == "off" ? 0 : Parse<int>("--recompute", result, count => count >= 0, "on, off or a number of layers"),
    };

    public static Option<string> WeightType() =>
        new Option<string>("--type")
        {
            Description = "What weight matrices are held in: f32, or fewer bits for less memory and faster writing: bf16, f16, q8_0, q4_0; stored takes the type of the file. Everything is computed in float32.",
            DefaultValueFactory = _ => "stored",
        }.AcceptOnlyFromAmong("stored", "f32", "bf16", "f16", "q8_0", "q4_0");

    public static Option<string> StateType() =>
        new Option<string>("--state-type")
        {
            Description = "What states are held in between tokens: f32, or bf16 or f16 for half the memory of each text and faster writing of many at a time. Everything is computed in float32.",
            DefaultValueFactory = _ => "f32",
        }.AcceptOnlyFromAmong("f32", "bf16", "f16");

    /// <summary>What <see cref="StateType()"/> was given.</summary>
    public static DType StateTypeOf(string name) => Enum.Parse<DType>(name, ignoreCase: true);

    /// <summary>What <see cref="WeightType()"/> was given; null for float32.</summary>
    /// <param name="name">The option's value.</param>
    /// <param name="model">Where the model is stored; null where there is none.</param>
    public static DType? WeightTypeOf(string name, string? model) => name switch
    {
        "bf16" => DType.BF16,
        "f16" => DType.F16,
        "q8_0" => DType.Q8_0,
        "q4_0" => DType.Q4_0,
        "stored" when model is not null => Checkpoint.StoredWeights(model),
        _ => null,
    };

    /// <summary>What <see cref="Precision()"/> was given.</summary>
    public static MatMulPrecision PrecisionOf(string name) => name switch
    {
        "bf16" => MatMulPrecision.Bfloat16,
        "fp16" => MatMulPrecision.Float16,
        "fp32-fast" => MatMulPrecision.Bfloat16x3,
        _ => MatMulPrecision.Full,
    };

    /// <summary>Text that is not empty; required unless there is a default or <paramref name="required"/> says otherwise.</summary>
    public static Option<string> Text(string name, string description, string? value = null, bool required = true)
    {
        var option = new Option<string>(name) { Description = description, Required = required && value is null };
        if (value is not null)
            option.DefaultValueFactory = _ => value;
        option.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1 && result.Tokens[0].Value.Length == 0)
                result.AddError($"{name} is empty.");
        });
        return option;
    }

    /// <summary>A whole number of at least <paramref name="least"/>.</summary>
    public static Option<int> Count(string name, int value, string description, int least = 1) =>
        Parsed(name, value, description, given => given >= least, $"a whole number from {least} to {int.MaxValue}");

    /// <summary>A finite number for which <paramref name="holds"/>; <paramref name="rule"/> says which those are.</summary>
    public static Option<double> Number(string name, double value, string description, Func<double, bool> holds, string rule) =>
        Parsed(name, value, description, given => double.IsFinite(given) && holds(given), rule);

    /// <summary>A value that is parsed; <paramref name="rule"/> says which values there are.</summary>
    public static Option<T> Parsed<T>(string name, T value, string description, Func<T, bool> holds, string rule) where T : struct, INumber<T> => new(name)
    {
        Description = description,
        DefaultValueFactory = _ => value,
        CustomParser = result => Parse(name, result, holds, rule),
    };

    /// <summary>The number that an argument holds, or an error that names the option, the rule and what was given.</summary>
    public static T Parse<T>(string name, ArgumentResult result, Func<T, bool> holds, string rule) where T : struct, INumber<T>
    {
        string given = result.Tokens[0].Value;
        const NumberStyles Style = NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;
        if (T.TryParse(given, Style, CultureInfo.InvariantCulture, out T number) && holds(number))
            return number;
        result.AddError($"{name} must be {rule}; it is '{given}'.");
        return default;
    }

    public static Option<string?> Trace() => new("--trace") { Description = "Write the time of every operation to this file, for chrome://tracing, and show the costliest ones." };

    public static Option<bool> Lockstep() => new("--lockstep") { Description = "Run every operation on the CPU as well, and stop at the first that differs." };
}
