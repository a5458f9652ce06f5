using System.Buffers.Binary;
using System.Text;

namespace ScratchMamba.Checkpoints;

/// <summary>Writes a dictionary of tensors as <c>torch.save</c> does, so that <c>torch.load</c> reads it, <c>weights_only</c> or not.</summary>
public static class TorchWriter
{
    private const string Root = "pytorch_model/";

    /// <summary>Writes one file, whole or not at all. Weights with the same <see cref="WeightToSave.Write"/> share their storage, as tied weights do.</summary>
    /// <exception cref="ArgumentException">A weight is of a quantised type, which PyTorch does not know, or wrote more or fewer bytes than it has.</exception>
    /// <exception cref="CheckpointException">The disk is full, or the folder cannot be written to.</exception>
    public static void Write(string path, IReadOnlyList<WeightToSave> weights)
    {
        WeightToSave[] storages = [.. weights.DistinctBy(weight => weight.Write)];
        byte[] pickle = Pickle(weights, Array.ConvertAll(storages, storage => storage.Write));
        AtomicFile.Write(path, stream =>
        {
            var zip = new ZipWriter(stream);
            Add(zip, "data.pkl", pickle);
            Add(zip, "byteorder", "little"u8.ToArray());
            for (int i = 0; i < storages.Length; i++)
                zip.Add($"{Root}data/{i}", storages[i].Bytes, storages[i].Write);
            Add(zip, "version", "3\n"u8.ToArray());
            zip.Finish();
        });
    }

    private static void Add(ZipWriter zip, string name, byte[] content) => zip.Add(Root + name, content.Length, stream => stream.Write(content));

    private static byte[] Pickle(IReadOnlyList<WeightToSave> weights, Action<Stream>[] storages)
    {
        using var pickle = new MemoryStream();
        pickle.Write([0x80, 2]);
        Global("collections", "OrderedDict");
        pickle.Write(")R("u8);
        foreach (WeightToSave weight in weights)
        {
            Text(weight.Name);
            Global("torch._utils", "_rebuild_tensor_v2");
            pickle.Write("(("u8);
            Text("storage");
            Global("torch", StorageName(weight));
            Text(Array.IndexOf(storages, weight.Write).ToString());
            Text("cpu");
            Number(weight.Shape.Count);
            pickle.Write("tQ"u8);
            Number(0);
            Numbers([.. weight.Shape.AsSpan().ToArray().Select(extent => (long)extent)]);
            Numbers([.. Enumerable.Range(0, weight.Shape.Rank).Select(axis => weight.Shape.Product(axis + 1, weight.Shape.Rank))]);
            // No gradient wanted, no hooks.
            pickle.WriteByte(0x89);
            Global("collections", "OrderedDict");
            pickle.Write(")RtR"u8);
        }
        pickle.Write("u."u8);
        return pickle.ToArray();

        void Global(string module, string name) => pickle.Write(Encoding.UTF8.GetBytes($"c{module}\n{name}\n"));

        void Text(string text)
        {
            byte[] utf8 = Encoding.UTF8.GetBytes(text);
            Span<byte> length = stackalloc byte[4];
            BinaryPrimitives.WriteInt32LittleEndian(length, utf8.Length);
            pickle.WriteByte((byte)'X');
            pickle.Write(length);
            pickle.Write(utf8);
        }

        void Number(long value)
        {
            Span<byte> bytes = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
            if (value is >= int.MinValue and <= int.MaxValue)
            {
                pickle.WriteByte((byte)'J');
                pickle.Write(bytes[..4]);
            }
            else
            {
                pickle.Write([0x8A, 8]);
                pickle.Write(bytes);
            }
        }

        void Numbers(long[] values)
        {
            pickle.WriteByte((byte)'(');
            foreach (long value in values)
                Number(value);
            pickle.WriteByte((byte)'t');
        }
    }

    private static string StorageName(WeightToSave weight) => weight.Type switch
    {
        StoredType.F32 => "FloatStorage",
        StoredType.F64 => "DoubleStorage",
        StoredType.F16 => "HalfStorage",
        StoredType.BF16 => "BFloat16Storage",
        StoredType.I64 => "LongStorage",
        StoredType.I32 => "IntStorage",
        _ => throw new ArgumentException($"{weight.Name} is {weight.Type}, which PyTorch does not know."),
    };
}
