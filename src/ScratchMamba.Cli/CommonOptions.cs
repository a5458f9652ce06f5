using System.CommandLine;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Cli;

/// <summary>Options that several commands share.</summary>
internal static class CommonOptions
{
    public static Option<string> Device() => new("--device")
    {
        Description = "What computes: cpu.",
        DefaultValueFactory = _ => "cpu",
    };

    public static Option<string> Model() => new("--model") { Description = "The folder of a checkpoint.", Required = true };

    public static Option<ulong> Seed() => new("--seed") { Description = "The seed of everything random: the same seed gives the same results.", DefaultValueFactory = _ => 0 };

    /// <summary>A whole number of at least <paramref name="least"/>.</summary>
    public static Option<int> Count(string name, int value, string description, int least = 1)
    {
        var option = new Option<int>(name) { Description = description, DefaultValueFactory = _ => value };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1 && int.TryParse(result.Tokens[0].Value, out int given) && given < least)
                result.AddError($"{name} must be at least {least}; it is {given}.");
        });
        return option;
    }

    /// <summary>A positive number.</summary>
    public static Option<double> Positive(string name, double value, string description)
    {
        var option = new Option<double>(name) { Description = description, DefaultValueFactory = _ => value };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1 && double.TryParse(result.Tokens[0].Value, out double given) && !(given > 0 && double.IsFinite(given)))
                result.AddError($"{name} must be a positive number; it is {result.Tokens[0].Value}.");
        });
        return option;
    }

    /// <summary>Adds options to a command.</summary>
    public static Command With(this Command command, params ReadOnlySpan<Option> options)
    {
        foreach (Option option in options)
            command.Options.Add(option);
        return command;
    }

    public static Backend Open(string device) => device == "cpu"
        ? new CpuBackend()
        : throw new MisuseException($"There is no device '{device}'; the devices are: cpu.");
}
