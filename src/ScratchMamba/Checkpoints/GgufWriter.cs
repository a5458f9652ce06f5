using System.Buffers.Binary;
using System.Text;

namespace ScratchMamba.Checkpoints;

/// <summary>Writes a GGUF file of version 3: first the metadata that was put, in that order, then the tensors.</summary>
internal sealed class GgufWriter : IDisposable
{
    private readonly MemoryStream metadata = new();
    private long count;

    public void Dispose() => metadata.Dispose();

    public void Put(string key, string value)
    {
        Key(key, GgufValueType.Text);
        Text(metadata, value);
    }

    public void Put(string key, uint value)
    {
        Key(key, GgufValueType.UInt32);
        UInt32(metadata, value);
    }

    public void Put(string key, float value)
    {
        Key(key, GgufValueType.Float32);
        UInt32(metadata, BitConverter.SingleToUInt32Bits(value));
    }

    public void Put(string key, bool value)
    {
        Key(key, GgufValueType.Bool);
        metadata.WriteByte(value ? (byte)1 : (byte)0);
    }

    public void Put(string key, string[] values)
    {
        ArrayOf(key, GgufValueType.Text, values.Length);
        foreach (string value in values)
            Text(metadata, value);
    }

    public void Put(string key, int[] values)
    {
        ArrayOf(key, GgufValueType.Int32, values.Length);
        foreach (int value in values)
            UInt32(metadata, (uint)value);
    }

    public void Put(string key, float[] values)
    {
        ArrayOf(key, GgufValueType.Float32, values.Length);
        foreach (float value in values)
            UInt32(metadata, BitConverter.SingleToUInt32Bits(value));
    }

    /// <summary>Writes the file, whole or not at all.</summary>
    /// <exception cref="ArgumentException">A tensor wrote more or fewer bytes than it has.</exception>
    /// <exception cref="CheckpointException">The disk is full, or the folder cannot be written to.</exception>
    public void Write(string path, IReadOnlyList<WeightToSave> weights) => AtomicFile.Write(path, stream =>
    {
        UInt32(stream, GgufFile.Magic);
        UInt32(stream, 3);
        UInt64(stream, (ulong)weights.Count);
        UInt64(stream, (ulong)count);
        metadata.WriteTo(stream);
        long offset = 0;
        foreach (WeightToSave weight in weights)
        {
            Text(stream, weight.Name);
            UInt32(stream, (uint)weight.Shape.Rank);
            for (int axis = weight.Shape.Rank - 1; axis >= 0; axis--)
                UInt64(stream, (ulong)weight.Shape[axis]);
            UInt32(stream, GgufFile.NumberOf(weight.Type));
            UInt64(stream, (ulong)offset);
            offset = Aligned(offset + weight.Bytes);
        }
        foreach (WeightToSave weight in weights)
        {
            Pad(stream);
            long start = stream.Position;
            weight.Write(stream);
            if (stream.Position - start != weight.Bytes)
                throw new ArgumentException($"{weight.Name}, {weight.Type} {weight.Shape}, has {weight.Bytes} bytes; {stream.Position - start} were written.", nameof(weights));
        }
        Pad(stream);
    });

    private static long Aligned(long position) => (position + GgufFile.DefaultAlignment - 1) & -GgufFile.DefaultAlignment;

    private static void Pad(Stream stream) => stream.Write(new byte[Aligned(stream.Position) - stream.Position]);

    private void Key(string key, GgufValueType type)
    {
        Text(metadata, key);
        UInt32(metadata, (uint)type);
        count++;
    }

    private void ArrayOf(string key, GgufValueType type, int length)
    {
        Key(key, GgufValueType.Array);
        UInt32(metadata, (uint)type);
        UInt64(metadata, (ulong)length);
    }

    private static void Text(Stream stream, string text)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(text);
        UInt64(stream, (ulong)utf8.Length);
        stream.Write(utf8);
    }

    private static void UInt32(Stream stream, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        stream.Write(bytes);
    }

    private static void UInt64(Stream stream, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        stream.Write(bytes);
    }
}
