using FsCheck;
using FsCheck.Fluent;

namespace ScratchMamba.Tests;

/// <summary>
/// How property tests run. The examples are the same in every run, so that a failure is a failure of the change at hand;
/// the environment variable SCRATCHMAMBA_SEED = random (or a number) looks at others.
/// </summary>
internal static class Properties
{
    /// <summary>Checks a property of a list of choices and a seed; a failing example is shrunk and printed.</summary>
    public static void ForAll(int examples, Action<int[], int> property)
    {
        string? seed = Environment.GetEnvironmentVariable("SCRATCHMAMBA_SEED");
        Config config = Config.QuickThrowOnFailure.WithMaxTest(examples).WithQuietOnSuccess(true);
        if (seed != "random")
            config = config.WithReplay(seed is null ? 20_241_009UL : ulong.Parse(seed), 20_250_901UL);
        IArbMap map = ArbMap.Default;
        Prop.ForAll(map.ArbFor<int[]>(), map.ArbFor<int>(), property).Check(config);
    }
}
