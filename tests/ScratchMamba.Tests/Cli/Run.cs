using System.Diagnostics;
using ScratchMamba.Cli;

namespace ScratchMamba.Tests.Cli;

/// <summary>What one command line did.</summary>
internal sealed record Run(int Code, string Output, string Error)
{
    /// <summary>Runs a command line in this process.</summary>
    public static Run Of(params string[] args) => Of(CancellationToken.None, new StringWriter(), args);

    /// <summary>Runs a command line that can be stopped, and whose output can be watched.</summary>
    public static Run Of(CancellationToken cancellation, StringWriter output, params string[] args)
    {
        using var error = new StringWriter();
        int code = CommandLine.Run(args, output, error, cancellation);
        return new Run(code, output.ToString(), error.ToString());
    }

    /// <summary>Starts the built executable as a process of its own.</summary>
    /// <param name="limit">Where not null, no file may grow beyond this many blocks of 512 bytes: a disk that is full.</param>
    /// <param name="args">The command line.</param>
    public static Process Start(int? limit, params string[] args)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "scratchmamba.dll");
        // A shell's background job hands on that it ignores interrupts, and .NET keeps that.
        var start = new ProcessStartInfo("env", limit is null ? ["--default-signal=INT", "dotnet", program, .. args] : []) { RedirectStandardOutput = true, RedirectStandardError = true };
        if (limit is not null)
        {
            // The signal is ignored, so that writing fails as it does on a full disk. The runtime's own files are kept out of it.
            start = new ProcessStartInfo("sh", ["-c", $"trap '' XFSZ; ulimit -f {limit}; exec dotnet \"$@\"", "sh", program, .. args]) { RedirectStandardOutput = true, RedirectStandardError = true };
            start.Environment["DOTNET_EnableWriteXorExecute"] = "0";
            start.Environment["DOTNET_EnableDiagnostics"] = "0";
        }
        return Process.Start(start)!;
    }

    /// <summary>The command did what was asked, and had nothing to complain about.</summary>
    public Run Succeeds()
    {
        Assert.Equal((CommandLine.Done, ""), (Code, Error));
        return this;
    }

    /// <summary>The command failed with one line that says what is wrong.</summary>
    public void FailsSaying(params string[] words) => Says(CommandLine.Failed, Error, words);

    /// <summary>The command was not understood, said why in one line, and where there is help.</summary>
    public void IsMisuseSaying(params string[] words)
    {
        string[] lines = Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (lines.Length == 2)
            Assert.StartsWith("See 'scratchmamba ", lines[1], StringComparison.Ordinal);
        Says(CommandLine.Misused, lines[0], words);
    }

    private void Says(int code, string line, string[] words)
    {
        Assert.Equal(code, Code);
        Assert.StartsWith("error: ", line, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', line.TrimEnd());
        Assert.DoesNotContain("   at ", Error, StringComparison.Ordinal);
        Assert.DoesNotContain("(Parameter", line, StringComparison.Ordinal);
        Assert.All(words, word => Assert.Contains(word, line, StringComparison.Ordinal));
    }
}
