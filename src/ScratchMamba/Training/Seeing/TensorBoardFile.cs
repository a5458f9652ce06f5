using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace ScratchMamba.Training.Seeing;

/// <summary>
/// Writes an event file of TensorBoard's: records of <c>length, its checksum, event, its checksum</c>, where an event is a protocol buffer and checksums are masked CRC-32C.
/// Source: TensorFlow's record_writer, event.proto and summary.proto.
/// </summary>
public sealed class TensorBoardFile : IDisposable
{
    private const int MostBuckets = 64;

    private readonly FileStream stream;

    /// <summary>Begins a new file in a folder.</summary>
    /// <param name="folder">The folder, which is made where there is none.</param>
    /// <param name="firstStep">The step that the run goes on with: TensorBoard forgets what older files in the folder say of later ones.</param>
    /// <param name="now">The time, from which the file has its name.</param>
    public TensorBoardFile(string folder, long firstStep, DateTimeOffset now)
    {
        Directory.CreateDirectory(folder);
        // What a run that was here before has left.
        foreach (string old in firstStep > 0 ? [] : Directory.GetFiles(folder, "events.out.tfevents.*.scratchmamba.*"))
            File.Delete(old);
        string name = $"events.out.tfevents.{now.ToUnixTimeSeconds():D10}.scratchmamba";
        for (int i = 0; ; i++)
        {
            string path = Path.Combine(folder, $"{name}.{i}");
            if (File.Exists(path))
                continue;
            stream = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0);
            break;
        }
        Write(now, 0, Message.Of(3, "brain.Event:2"));
        // SessionLog { status: START }
        if (firstStep > 0)
            Write(now, firstStep, Message.Of(7, Message.Of(1, 1)));
    }

    /// <summary>Numbers of a step, each under its tag.</summary>
    public void Scalars(DateTimeOffset now, long step, params IEnumerable<(string Tag, double Value)> values) =>
        Write(now, step, Message.Of(5, Message.Join(values.Select(value => Message.Of(1, Message.Join(Message.Of(1, value.Tag), Message.OfSingle(2, (float)value.Value)))))));

    /// <summary>A text of a step.</summary>
    public void Text(DateTimeOffset now, long step, string tag, string text)
    {
        // TensorProto { dtype: DT_STRING, tensor_shape: [1], string_val } with the metadata of the plug-in for texts.
        byte[] tensor = Message.Join(Message.Of(1, 7), Message.Of(2, Message.Of(2, Message.Of(1, 1))), Message.Of(8, text));
        byte[] metadata = Message.Of(1, Message.Of(1, "text"));
        Write(now, step, Message.Of(5, Message.Of(1, Message.Join(Message.Of(1, tag), Message.Of(8, tensor), Message.Of(9, metadata)))));
    }

    /// <summary>How numbers of a step are spread, in at most 64 intervals of equal width.</summary>
    public void Histogram(DateTimeOffset now, long step, string tag, ReadOnlySpan<float> values)
    {
        double low = double.PositiveInfinity, high = double.NegativeInfinity, sum = 0, squares = 0;
        long count = 0;
        foreach (float value in values)
        {
            if (!float.IsFinite(value))
                continue;
            (low, high, count) = (Math.Min(low, value), Math.Max(high, value), count + 1);
            sum += value;
            squares += (double)value * value;
        }
        if (count == 0)
            return;
        int buckets = high > low ? MostBuckets : 1;
        double width = high > low ? (high - low) / buckets : 1;
        var counts = new double[buckets];
        foreach (float value in values)
        {
            if (float.IsFinite(value))
                counts[Math.Min(buckets - 1, (int)((value - low) / width))]++;
        }
        double[] limits = [.. Enumerable.Range(1, buckets).Select(i => i == buckets ? Math.Max(high, low + double.Epsilon) : low + i * width)];
        byte[] histogram = Message.Join(
            Message.Of(1, low), Message.Of(2, high), Message.Of(3, (double)count), Message.Of(4, sum), Message.Of(5, squares), Message.Of(6, limits), Message.Of(7, counts));
        Write(now, step, Message.Of(5, Message.Of(1, Message.Join(Message.Of(1, tag), Message.Of(5, histogram)))));
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => stream.Dispose();

    private void Write(DateTimeOffset now, long step, byte[] what)
    {
        byte[] record = Message.Join(Message.Of(1, now.ToUnixTimeMilliseconds() / 1000.0), Message.Of(2, step), what);
        Span<byte> header = stackalloc byte[12], footer = stackalloc byte[4];
        BinaryPrimitives.WriteInt64LittleEndian(header, record.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], Checksum(header[..8]));
        BinaryPrimitives.WriteUInt32LittleEndian(footer, Checksum(record));
        // At once, and through no buffer: who reads meanwhile sees whole records.
        stream.Write([.. header, .. record, .. footer]);
    }

    /// <summary>CRC-32C, turned and shifted, so that a checksum of what holds checksums is still one.</summary>
    internal static uint Checksum(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in data)
            crc = BitOperations.Crc32C(crc, value);
        crc = ~crc;
        return BitOperations.RotateRight(crc, 15) + 0xa282ead8;
    }

    /// <summary>Fields of protocol buffers.</summary>
    private static class Message
    {
        private const int Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5;

        public static byte[] Join(params IEnumerable<byte[]> fields) => [.. fields.SelectMany(field => field)];

        public static byte[] Of(int field, long value) => [.. Key(field, Varint), .. Number((ulong)value)];

        public static byte[] Of(int field, double value) => [.. Key(field, Fixed64), .. Bits(value)];

        public static byte[] OfSingle(int field, float value)
        {
            var bytes = new byte[sizeof(float)];
            BinaryPrimitives.WriteSingleLittleEndian(bytes, value);
            return [.. Key(field, Fixed32), .. bytes];
        }

        public static byte[] Of(int field, string text) => Of(field, Encoding.UTF8.GetBytes(text));

        public static byte[] Of(int field, byte[] content) => [.. Key(field, Bytes), .. Number((ulong)content.Length), .. content];

        /// <summary>Numbers in one field, packed.</summary>
        public static byte[] Of(int field, double[] values) => Of(field, [.. values.SelectMany(Bits)]);

        private static byte[] Key(int field, int kind) => Number((ulong)(field << 3 | kind));

        private static byte[] Number(ulong value)
        {
            var bytes = new List<byte>();
            for (; value > 0x7f; value >>= 7)
                bytes.Add((byte)(value | 0x80));
            bytes.Add((byte)value);
            return [.. bytes];
        }

        private static byte[] Bits(double value)
        {
            var bytes = new byte[sizeof(double)];
            BinaryPrimitives.WriteDoubleLittleEndian(bytes, value);
            return bytes;
        }
    }
}
