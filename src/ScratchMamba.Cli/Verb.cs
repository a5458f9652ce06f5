using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace ScratchMamba.Cli;

/// <summary>A command with an example, which its help shows.</summary>
internal sealed class Verb : Command
{
    public Verb(string name, string description, string example, params ReadOnlySpan<Option> options) : base(name, description)
    {
        Example = example;
        foreach (Option option in options)
            Options.Add(option);
    }

    /// <summary>A complete command line.</summary>
    public string Example { get; }

    /// <summary>Makes the help of every verb end with its example.</summary>
    public static void ShowExamples(RootCommand root)
    {
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Action = new HelpWithExample((SynchronousCommandLineAction)help.Action!);
    }

    private sealed class HelpWithExample(SynchronousCommandLineAction help) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            int code = help.Invoke(parseResult);
            if (parseResult.CommandResult.Command is Verb verb)
            {
                parseResult.InvocationConfiguration.Output.WriteLine("Example:");
                parseResult.InvocationConfiguration.Output.WriteLine($"  {verb.Example}");
            }
            return code;
        }
    }
}
