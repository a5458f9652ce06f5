using System.CommandLine;
using System.Text.RegularExpressions;
using ScratchMamba.Cli.Commands;

namespace ScratchMamba.Cli;

/// <summary>The command line: parses the arguments, runs a command, and turns every error into one line and an exit code.</summary>
public static partial class CommandLine
{
    /// <summary>The command did what was asked.</summary>
    public const int Done = 0;

    /// <summary>The command could not do what was asked.</summary>
    public const int Failed = 1;

    /// <summary>The command was not understood.</summary>
    public const int Misused = 2;

    private static readonly Option<bool> Verbose = new("--verbose") { Description = "Show where an error came from.", Recursive = true };

    /// <summary>All verbs.</summary>
    internal static IReadOnlyList<Verb> Verbs { get; } =
    [
        QuickstartCommand.Create(), TrainCommand.Create(), GenerateCommand.Create(), ChatCommand.Create(), ServeCommand.Create(), EvaluateCommand.Create(), InspectCommand.Create(),
        VerifyCommand.Create(), ConvertCommand.Create(), DataCommand.Create(), TokenizerCommand.Create(), ReportCommand.Create(), SweepCommand.Create(), StudyCommand.Create(),
        BenchCommand.Create(), DevicesCommand.Create(),
    ];

    private static readonly RootCommand Root = CreateRoot();

    /// <summary>Runs one command line.</summary>
    /// <param name="args">The arguments.</param>
    /// <param name="output">Where results go.</param>
    /// <param name="error">Where errors go, one line each.</param>
    /// <param name="cancellation">Ends the command in order: a training saves what it has.</param>
    /// <returns><see cref="Done"/>, <see cref="Failed"/> or <see cref="Misused"/>.</returns>
    public static int Run(string[] args, TextWriter output, TextWriter error, CancellationToken cancellation = default)
    {
        ParseResult parsed = Parse(args);
        if (parsed.Errors.Count > 0)
        {
            string fault = parsed.UnmatchedTokens.Count > 0 ? $"There is no command or option '{parsed.UnmatchedTokens[0]}'." : parsed.Errors[0].Message;
            error.WriteLine($"error: {OneLine(fault)}");
            string verb = parsed.CommandResult.Command is RootCommand ? "" : parsed.CommandResult.Command.Name + " ";
            error.WriteLine($"See 'scratchmamba {verb}--help'.");
            return Misused;
        }
        try
        {
            var configuration = new InvocationConfiguration { Output = output, Error = error, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
            return parsed.InvokeAsync(configuration, cancellation).GetAwaiter().GetResult();
        }
        catch (OperationCanceledException stopped) when (cancellation.IsCancellationRequested)
        {
            error.WriteLine(stopped.CancellationToken == CancellationToken.None ? stopped.Message : "stopped");
            return Failed;
        }
        catch (Exception fault)
        {
            error.WriteLine($"error: {OneLine(fault.Message)}");
            if (parsed.GetValue(Verbose))
                error.WriteLine(fault.ToString());
            return fault is MisuseException ? Misused : Failed;
        }
    }

    /// <summary>Parses a command line. A prompt that begins with @ is text, not the name of a file of arguments.</summary>
    internal static ParseResult Parse(string[] args) => Root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });

    private static RootCommand CreateRoot()
    {
        var root = new RootCommand("Train, run and understand Mamba-2 language models.");
        root.Options.Add(Verbose);
        foreach (Verb verb in Verbs)
            root.Subcommands.Add(verb);
        Verb.ShowExamples(root);
        return root;
    }

    /// <summary>A message without line breaks, and without the name of a parameter that the user has never seen.</summary>
    private static string OneLine(string message)
    {
        message = ParameterName().Replace(message, "");
        return string.Join(' ', message.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
    }

    [GeneratedRegex(@" \(Parameter '\w+'\)")]
    private static partial Regex ParameterName();
}

/// <summary>The command line asks for something that makes no sense.</summary>
public sealed class MisuseException(string message) : Exception(message);
