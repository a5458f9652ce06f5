namespace ScratchMamba.Modules;

/// <summary>A part of a model that has parameters.</summary>
public abstract class Module
{
    /// <summary>The parameters with their paths, in a fixed order. The path of a whole model's parameter is its name in a checkpoint.</summary>
    public abstract IEnumerable<(string Path, Parameter Parameter)> Parameters();

    /// <summary>The number of elements of all parameters.</summary>
    public long ParameterCount => Parameters().Sum(entry => entry.Parameter.Count);

    /// <summary>The parameters of a part, under its name.</summary>
    protected static IEnumerable<(string Path, Parameter Parameter)> Under(string name, Module part) =>
        part.Parameters().Select(entry => ($"{name}.{entry.Path}", entry.Parameter));
}
