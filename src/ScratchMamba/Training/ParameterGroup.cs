using System.IO.Enumeration;
using ScratchMamba.Modules;

namespace ScratchMamba.Training;

/// <summary>Parameters that the optimizer treats apart from the others.</summary>
/// <param name="Pattern">Which: their paths, with * for any characters and ? for any one.</param>
/// <param name="RateFactor">What the learning rate is multiplied with.</param>
/// <param name="WeightDecay">Their decay per unit of learning rate; null for that of the settings, where the published recipe lets them decay.</param>
public sealed record ParameterGroup(string Pattern, double RateFactor = 1, double? WeightDecay = null)
{
    /// <summary>Whether a parameter is one of them.</summary>
    public bool Has(string path) => FileSystemName.MatchesSimpleExpression(Pattern, path, ignoreCase: false);

    /// <summary>Freezes the parameters whose paths match a pattern: training leaves them as they are, to the last bit.</summary>
    /// <exception cref="ArgumentException">There are none, or nothing else is left to train.</exception>
    public static void Freeze(Module model, string pattern)
    {
        var group = new ParameterGroup(pattern);
        group.ThrowIfEmpty(model);
        foreach ((string path, Parameter parameter) in model.Parameters())
            parameter.IsFrozen |= group.Has(path);
        if (model.Parameters().All(entry => entry.Parameter.IsFrozen))
            throw new ArgumentException($"'{pattern}' freezes all that is left to train.");
    }

    /// <summary>Throws where no parameter of a model is one of them.</summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public void ThrowIfEmpty(Module model)
    {
        if (!model.Parameters().Any(entry => Has(entry.Path)))
            throw new ArgumentException($"No parameter's path matches '{Pattern}'; a path is, for example, {model.Parameters().First().Path}.");
    }
}
