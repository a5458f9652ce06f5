using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tensors;

namespace ScratchMamba.Training;

/// <summary>Gives a training's parts the state back that <see cref="StateWriter"/> collected.</summary>
public sealed class StateReader : IDisposable
{
    private readonly string path;
    private readonly SafetensorsFile tensors;
    private readonly JsonObject all;
    private string part = "";

    /// <summary>Opens the state in a checkpoint's folder.</summary>
    /// <exception cref="CheckpointException">A file is missing or damaged, or was written by a newer program.</exception>
    public StateReader(string folder)
    {
        path = Path.Combine(folder, StateWriter.ValueFile);
        try
        {
            JsonObject json = JsonNode.Parse(File.ReadAllBytes(path))?.AsObject() ?? throw new JsonException("it holds nothing");
            if (json["format"]!.GetValue<int>() != StateWriter.Format)
                throw new CheckpointException($"{path}: has format {json["format"]}; this program reads {StateWriter.Format}");
            Step = json["step"]!.GetValue<long>();
            all = json["parts"]!.AsObject();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException or FormatException or NullReferenceException)
        {
            throw new CheckpointException($"{path}: is missing or damaged: {error.Message}", error);
        }
        tensors = new SafetensorsFile(Path.Combine(folder, StateWriter.TensorFile));
    }

    /// <summary>How many steps had been made.</summary>
    public long Step { get; }

    /// <summary>Whether the part that is being restored has saved a tensor of this name.</summary>
    public bool Has(string name) => tensors.Contains($"{part}/{name}");

    /// <summary>A number, flag or text of the part that is being restored.</summary>
    /// <exception cref="CheckpointException">There is none of this name and type.</exception>
    public T Value<T>(string name)
    {
        try
        {
            return all[part]![name]!.GetValue<T>();
        }
        catch (Exception error) when (error is InvalidOperationException or FormatException or NullReferenceException)
        {
            throw new CheckpointException($"{path}: {part} has no {name} of type {typeof(T).Name}", error);
        }
    }

    /// <summary>A list of the part that is being restored.</summary>
    /// <exception cref="CheckpointException">There is none of this name.</exception>
    public JsonArray Array(string name) => all[part]?[name] as JsonArray ?? throw new CheckpointException($"{path}: {part} has no list {name}");

    /// <summary>Writes a saved tensor over an existing one, bit by bit.</summary>
    /// <exception cref="CheckpointException">There is none of this name, or it has another type or shape.</exception>
    public void Read(string name, Tensor into)
    {
        StoredTensor entry = Entry(name);
        if (entry.Shape != into.Shape || entry.Type.ToString() != into.DType.ToString())
            throw new CheckpointException($"{tensors.Path}: {entry.Name} is {entry.Type} {entry.Shape}; this training needs {into.Type}");
        var bytes = new byte[entry.Bytes];
        tensors.ReadBytes(entry, 0, bytes);
        switch (into.DType)
        {
            case DType.F64:
                into.Write<double>(MemoryMarshal.Cast<byte, double>(bytes));
                break;
            case DType.F32:
                into.Write<float>(MemoryMarshal.Cast<byte, float>(bytes));
                break;
            case DType.I32:
                into.Write<int>(MemoryMarshal.Cast<byte, int>(bytes));
                break;
            case DType.BF16:
                into.Write<BFloat16>(MemoryMarshal.Cast<byte, BFloat16>(bytes));
                break;
            default:
                into.Write<Half>(MemoryMarshal.Cast<byte, Half>(bytes));
                break;
        }
    }

    /// <summary>A saved tensor, made anew.</summary>
    public Tensor Tensor(string name, Backend backend)
    {
        StoredTensor entry = Entry(name);
        if (!Enum.TryParse(entry.Type.ToString(), out DType type))
            throw new CheckpointException($"{tensors.Path}: {entry.Name} is {entry.Type}, which no tensor can be");
        Tensor tensor = backend.Zeros(new TensorType(type, entry.Shape));
        Read(name, tensor);
        return tensor;
    }

    /// <summary>Saved numbers of the host's.</summary>
    public double[] Doubles(string name) => tensors.ReadDoubles(Entry(name).Name);

    /// <summary>Gives every part its state.</summary>
    /// <exception cref="CheckpointException">A part has saved nothing: the training is not the one that was saved.</exception>
    internal void Restore(IEnumerable<ITrainingPart> parts)
    {
        foreach (ITrainingPart item in parts)
        {
            part = item.Name;
            if (!all.ContainsKey(part))
                throw new CheckpointException($"{path}: holds no state of {part}: the training that was saved had none; go on with the options that it had");
            item.Restore(this);
        }
    }

    /// <summary>Closes the files.</summary>
    public void Dispose() => tensors.Dispose();

    private StoredTensor Entry(string name) => tensors.Entry($"{part}/{name}");
}
