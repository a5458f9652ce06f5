using System.CommandLine;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;
using ScratchMamba.Cli.Commands;

namespace ScratchMamba.Cli;

/// <summary>The command line: parses the arguments, runs a command, and turns every error into one line and an exit code.</summary>
public static class CommandLine
{
    /// <summary>The command did what was asked.</summary>
    public const int Done = 0;

    /// <summary>The command could not do what was asked.</summary>
    public const int Failed = 1;

    /// <summary>The command was not understood.</summary>
    public const int Misused = 2;

    /// <summary>Runs one command line.</summary>
    /// <returns><see cref="Done"/>, <see cref="Failed"/> or <see cref="Misused"/>.</returns>
    public static int Run(string[] args, TextWriter output, TextWriter error)
    {
        var verbose = new Option<bool>("--verbose") { Description = "Show where an error came from.", Recursive = true };
        var root = new RootCommand("Train, run and understand Mamba-2 language models.");
        root.Options.Add(verbose);
        foreach (Command command in new[]
        {
            QuickstartCommand.Create(), TrainCommand.Create(), GenerateCommand.Create(), EvaluateCommand.Create(), InspectCommand.Create(), VerifyCommand.Create(), BenchCommand.Create(),
        })
        {
            root.Subcommands.Add(command);
        }
        ParseResult parsed = root.Parse(args);
        if (parsed.Errors.Count > 0)
        {
            error.WriteLine($"error: {parsed.Errors[0].Message}");
            string verb = parsed.CommandResult.Command is RootCommand ? "" : parsed.CommandResult.Command.Name + " ";
            error.WriteLine($"See 'scratchmamba {verb}--help'.");
            return Misused;
        }
        try
        {
            return parsed.Invoke(new InvocationConfiguration { Output = output, Error = error, EnableDefaultExceptionHandler = false });
        }
        catch (OperationCanceledException)
        {
            error.WriteLine("stopped");
            return Failed;
        }
        catch (Exception fault) when (fault is not OutOfMemoryException || !parsed.GetValue(verbose))
        {
            error.WriteLine($"error: {OneLine(fault.Message)}");
            if (parsed.GetValue(verbose))
                error.WriteLine(fault.ToString());
            return fault is MisuseException ? Misused : Failed;
        }
    }

    private static string OneLine(string message) => string.Join(' ', message.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
}

/// <summary>The command line asks for something that makes no sense.</summary>
public sealed class MisuseException(string message) : Exception(message);
