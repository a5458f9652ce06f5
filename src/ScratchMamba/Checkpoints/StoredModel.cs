using System.Runtime.InteropServices;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;

namespace ScratchMamba.Checkpoints;

/// <summary>A model's weights in storage, in whatever form, under the paths and with the shapes that <see cref="Mamba2Model.Parameters"/> has. None are read until asked for.</summary>
internal sealed class StoredModel : IDisposable
{
    private readonly Dictionary<string, StoredTensor> entries = [];
    private readonly float[]? exactDecayLogs;
    private readonly AdapterFile? adapters;

    /// <summary>Opens the weights of a model, and checks their names and shapes against its configuration.</summary>
    /// <exception cref="CheckpointException">A tensor is missing, has no place in the model, or has another shape.</exception>
    public StoredModel(string path, Mamba2Config config)
    {
        Config = config;
        adapters = AdapterFile.IsIn(path) ? new AdapterFile(path) : null;
        try
        {
            Source = WeightSource.Open(adapters is null ? path : AdapterFile.BaseOf(path));
            Match();
            exactDecayLogs = Source is GgufFile gguf ? GgufModel.ExactDecayLogs(gguf, config) : null;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public Mamba2Config Config { get; }

    /// <summary>Where the weights are.</summary>
    public WeightSource Source { get; } = null!;

    /// <summary>The parameters' paths and shapes, in the model's order.</summary>
    public IReadOnlyList<(string Path, Shape Shape)> Parameters { get; private set; } = [];

    /// <summary>The canonical path of a tensor's name in any of the forms: they differ by a prefix (Codestral) and by a plural (mamba_ssm).</summary>
    public static string PathOf(string name)
    {
        name = name.StartsWith("model.", StringComparison.Ordinal) ? name["model.".Length..] : name;
        return name == "backbone.embedding.weight" ? "backbone.embeddings.weight" : name;
    }

    /// <summary>What is stored of a parameter.</summary>
    public StoredTensor Entry(string path) => entries[path];

    /// <summary>Reads a parameter's values.</summary>
    public void Read<T>(string path, Span<T> values) where T : unmanaged
    {
        Source.Read(entries[path].Name, values);
        if (adapters?.Adapts(path) == true)
            Merge(adapters.Change(path, entries[path].Shape), values);
        if (!StoresExponential(path))
            return;
        int layer = int.Parse(path.Split('.')[2]);
        for (int i = 0; i < values.Length; i++)
        {
            float? exact = exactDecayLogs?[layer * Config.Heads + i];
            if (typeof(T) == typeof(double))
                Replace(ref MemoryMarshal.Cast<T, double>(values)[i]);
            else
                MemoryMarshal.Cast<T, float>(values)[i] = (float)GgufModel.LogOf(MemoryMarshal.Cast<T, float>(values)[i], exact);

            void Replace(ref double value) => value = GgufModel.LogOf(value, exact);
        }
    }

    /// <summary>A parameter's blocks as a tensor holds them, where they are stored in this type; null where they are not, or where an adapter changes them.</summary>
    public byte[]? Blocks(string path, DType type)
    {
        StoredTensor entry = entries[path];
        if (entry.Type != (type == DType.Q8_0 ? StoredType.Q8_0 : StoredType.Q4_0) || IsComputed(path))
            return null;
        var blocks = new byte[entry.Bytes];
        Source.ReadBytes(entry, 0, blocks);
        return Quantization.ToTensor(type, blocks);
    }

    /// <summary>Whether what is stored is not the parameter itself, but what has to be computed back.</summary>
    public bool StoresExponential(string path) => Source is GgufFile && GgufModel.IsDecay(path);

    /// <summary>Whether a parameter's values are not those that are stored.</summary>
    public bool IsComputed(string path) => StoresExponential(path) || adapters?.Adapts(path) == true;

    public void Dispose()
    {
        adapters?.Dispose();
        Source?.Dispose();
    }

    private static void Merge<T>(double[] change, Span<T> values) where T : unmanaged
    {
        if (typeof(T) == typeof(double))
            System.Numerics.Tensors.TensorPrimitives.Add(MemoryMarshal.Cast<T, double>(values), change, MemoryMarshal.Cast<T, double>(values));
        for (int i = 0; typeof(T) == typeof(float) && i < values.Length; i++)
            MemoryMarshal.Cast<T, float>(values)[i] = (float)(MemoryMarshal.Cast<T, float>(values)[i] + change[i]);
    }

    private void Match()
    {
        bool isGguf = Source is GgufFile;
        var stored = new Dictionary<string, StoredTensor>();
        foreach (string name in Source.Names)
        {
            string path = isGguf ? GgufModel.PathOf(name) : PathOf(name);
            if (!stored.TryAdd(path, Source.Entry(name)))
                throw new CheckpointException($"{Source.Path}: {CheckpointException.Shown(name)} and {CheckpointException.Shown(stored[path].Name)} are the same tensor");
        }
        // A tied head may be stored all the same; it is the embedding again.
        if (Config.TiedEmbeddings)
            stored.Remove("lm_head.weight");
        using var shapes = new NullBackend();
        Parameters = [.. new Mamba2Model(Config, shapes, seed: null).Parameters().Select(entry => (entry.Path, entry.Parameter.Shape))];
        foreach ((string path, Shape shape) in Parameters)
        {
            string name = isGguf ? GgufModel.NameOf(path) ?? path : path;
            if (!stored.Remove(path, out StoredTensor? entry))
                throw new CheckpointException($"{Source.Path}: tensor {name} is missing");
            Shape expected = isGguf ? GgufModel.ShapeOf(path, shape, Config) : shape;
            if (entry.Shape != expected && !(isGguf && Plain(entry.Shape).SequenceEqual(Plain(expected))))
                throw new CheckpointException($"{Source.Path}: tensor {entry.Name} has shape {entry.Shape}; the configuration asks for {expected}");
            if (entry.Type is StoredType.I32 or StoredType.I64)
                throw new CheckpointException($"{Source.Path}: tensor {entry.Name} holds {entry.Type}, which are no weights");
            entries.Add(path, entry);
        }
        if (stored.Values.FirstOrDefault() is { } unknown)
            throw new CheckpointException($"{Source.Path}: tensor {CheckpointException.Shown(unknown.Name)} has no place in a model of this configuration");
    }

    /// <summary>Extents without those of 1, of which converters keep more or fewer.</summary>
    private static IEnumerable<int> Plain(Shape shape) => shape.AsSpan().ToArray().Where(extent => extent != 1);
}
