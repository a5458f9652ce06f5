using System.Text;
using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// A file that <c>torch.save</c> wrote of a dictionary of tensors: a zip file with a pickle that says what there is, and an entry for the bytes of each storage.
/// Nothing in it is run. Tensors may share a storage, as tied weights do.
/// </summary>
public sealed class TorchFile : WeightSource
{
    private readonly InputFile file;
    private readonly Dictionary<string, (StoredTensor Tensor, long Start)> entries = new(StringComparer.Ordinal);
    private readonly List<string> names = [];

    /// <summary>Opens a file and reads its pickle.</summary>
    /// <exception cref="CheckpointException">It is damaged, or holds something else than tensors by name.</exception>
    public TorchFile(string path)
    {
        Path = path;
        file = new InputFile(path);
        try
        {
            var zip = new ZipContainer(file);
            string pickle = zip.Names.SingleOrDefault(name => name == "data.pkl" || name.EndsWith("/data.pkl", StringComparison.Ordinal))
                ?? throw Fault("it has no data.pkl, and so is not a file of torch.save");
            string root = pickle[..^"data.pkl".Length];
            if (zip.TryFind(root + "byteorder", out var order) && Encoding.UTF8.GetString(Bytes(order, 16)) is var stored && stored != "little")
                throw Fault($"its numbers are stored in the byte order '{CheckpointException.Shown(stored)}', not 'little'");
            zip.TryFind(pickle, out var place);
            object? content = PickleReader.Read(Bytes(place, PickleReader.MostBytes), path);
            if (content is not PickleDictionary dictionary)
                throw Fault("it holds something else than a dictionary of tensors");
            foreach ((string name, object? value) in dictionary.Entries)
                Add(name, value as PickleTensor ?? throw Fault($"entry {CheckpointException.Shown(name)} is not a tensor"), zip, root);
        }
        catch (InvalidOperationException)
        {
            file.Dispose();
            throw Fault("it has several data.pkl");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override string Path { get; }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Metadata { get; } = new Dictionary<string, string>();

    /// <inheritdoc/>
    public override IReadOnlyList<string> Names => names;

    /// <inheritdoc/>
    public override bool Contains(string name) => entries.ContainsKey(name);

    /// <inheritdoc/>
    public override StoredTensor Entry(string name) => entries.TryGetValue(name, out var entry)
        ? entry.Tensor
        : throw new CheckpointException($"{Path}: there is no tensor {CheckpointException.Shown(name)}");

    /// <inheritdoc/>
    protected internal override void ReadBytes(StoredTensor entry, long start, Span<byte> destination) => file.Read(entries[entry.Name].Start + start, destination);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => file.Dispose();

    private void Add(string name, PickleTensor tensor, ZipContainer zip, string root)
    {
        if (tensor.Extents.Length > Shape.MaxRank || tensor.Extents.Length != tensor.Strides.Length || tensor.Extents.Any(extent => extent is < 0 or > int.MaxValue))
            throw Fault($"tensor {CheckpointException.Shown(name)}: [{string.Join(", ", tensor.Extents)}] is not a shape that is supported");
        StoredTensor entry = new(name, tensor.Storage.Type, new Shape([.. tensor.Extents.Select(extent => (int)extent)]));
        if (!zip.TryFind($"{root}data/{tensor.Storage.Key}", out var place))
            throw Fault($"tensor {CheckpointException.Shown(name)}: its storage data/{CheckpointException.Shown(tensor.Storage.Key)} is missing");
        int size = tensor.Storage.Type.BlockBytes();
        long bytes;
        try
        {
            bytes = entry.Bytes;
        }
        catch (OverflowException)
        {
            throw Fault($"tensor {CheckpointException.Shown(name)}: its shape {entry.Shape} has more elements than 64 bits count");
        }
        if (tensor.Offset < 0 || tensor.Offset > place.Length / size || bytes > place.Length - tensor.Offset * size)
            throw Fault($"tensor {CheckpointException.Shown(name)}: {entry.Shape} from element {tensor.Offset} on does not fit the {place.Length} bytes of its storage");
        long expected = 1;
        for (int axis = tensor.Extents.Length - 1; axis >= 0; axis--)
        {
            if (tensor.Extents[axis] > 1 && entry.Count > 0 && tensor.Strides[axis] != expected)
                throw Fault($"tensor {CheckpointException.Shown(name)}: is a view with strides [{string.Join(", ", tensor.Strides)}]; save it contiguous");
            expected *= Math.Max(1, tensor.Extents[axis]);
        }
        entries.Add(name, (entry, place.Start + tensor.Offset * size));
        names.Add(name);
    }

    private byte[] Bytes((long Start, long Length) place, int most)
    {
        if (place.Length > most)
            throw Fault($"an entry of {place.Length:N0} bytes is larger than the {most:N0} allowed");
        var bytes = new byte[place.Length];
        file.Read(place.Start, bytes);
        return bytes;
    }

    private CheckpointException Fault(string what) => new($"{Path}: {what}");
}
