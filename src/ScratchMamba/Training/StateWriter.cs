using System.Text.Json.Nodes;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tensors;

namespace ScratchMamba.Training;

/// <summary>
/// Collects the state of a training's parts: tensors for <c>training.safetensors</c>, named <c>part/name</c>, and numbers for <c>training.json</c>, an object for each part.
/// Tensors are read from their backend when they are written, so they must not change before.
/// </summary>
public sealed class StateWriter
{
    internal const string TensorFile = "training.safetensors", ValueFile = "training.json";
    internal const int Format = 1;

    private readonly List<WeightToSave> tensors = [];
    private readonly JsonObject all = [];
    private string part = "";

    /// <summary>Numbers, flags and text of the part that is being saved.</summary>
    public JsonObject Values => all[part]!.AsObject();

    /// <summary>Adds a tensor.</summary>
    public void Add(string name, Tensor tensor) => tensors.Add(WeightToSave.Of($"{part}/{name}", tensor));

    /// <summary>Adds numbers of the host's.</summary>
    public void Add(string name, double[] values) => tensors.Add(WeightToSave.Of<double>($"{part}/{name}", [values.Length], values));

    /// <summary>Writes the state of all parts into a folder.</summary>
    internal static void Write(string folder, long step, IEnumerable<ITrainingPart> parts)
    {
        var writer = new StateWriter();
        foreach (ITrainingPart item in parts)
        {
            writer.part = item.Name;
            writer.all.Add(item.Name, new JsonObject());
            item.Save(writer);
        }
        SafetensorsWriter.Write(Path.Combine(folder, TensorFile), writer.tensors);
        Checkpoint.WriteJson(new JsonObject { ["format"] = Format, ["step"] = step, ["parts"] = writer.all }, Path.Combine(folder, ValueFile));
    }
}
