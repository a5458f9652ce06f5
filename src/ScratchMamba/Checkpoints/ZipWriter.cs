using System.Buffers.Binary;
using System.Text;

namespace ScratchMamba.Checkpoints;

/// <summary>Writes a zip file of stored entries, their contents at multiples of 64 bytes as PyTorch has them, with 64-bit sizes where they are needed.</summary>
internal sealed class ZipWriter(Stream stream)
{
    private const int Alignment = 64;

    private static readonly uint[] Remainders = MakeRemainders();

    private readonly List<(byte[] Name, uint Check, long Length, long Local)> entries = [];

    /// <summary>Adds an entry.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="length">The number of bytes that <paramref name="write"/> writes.</param>
    /// <param name="write">Writes the content.</param>
    public void Add(string name, long length, Action<Stream> write)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(name);
        long local = stream.Position;
        // The sizes stand in an extra field, which is padded so that the content is aligned.
        int extra = 4 + 16 + 4;
        extra += (int)(-(local + 30 + utf8.Length + extra) & (Alignment - 1));
        var header = new byte[30 + utf8.Length + extra];
        WriteHeader(header, utf8, extra, check: 0, length);
        stream.Write(header);
        var checking = new CheckingStream(stream);
        write(checking);
        if (checking.Length != length)
            throw new ArgumentException($"{name} has {length} bytes; {checking.Length} were written.", nameof(write));
        long end = stream.Position;
        stream.Position = local;
        WriteHeader(header, utf8, extra, checking.Check, length);
        stream.Write(header);
        stream.Position = end;
        entries.Add((utf8, checking.Check, length, local));
    }

    /// <summary>Writes the directory.</summary>
    public void Finish()
    {
        long start = stream.Position;
        foreach ((byte[] name, uint check, long length, long local) in entries)
        {
            var entry = new byte[46 + name.Length + 28];
            BinaryPrimitives.WriteUInt32LittleEndian(entry, 0x02014B50);
            Put16(entry, 4, 45);
            Put16(entry, 6, 45);
            Put16(entry, 8, 0x0800);
            Put32(entry, 16, check);
            Put32(entry, 20, uint.MaxValue);
            Put32(entry, 24, uint.MaxValue);
            Put16(entry, 28, name.Length);
            Put16(entry, 30, 28);
            Put32(entry, 42, uint.MaxValue);
            name.CopyTo(entry, 46);
            Span<byte> field = entry.AsSpan(46 + name.Length);
            BinaryPrimitives.WriteUInt16LittleEndian(field, 1);
            BinaryPrimitives.WriteUInt16LittleEndian(field[2..], 24);
            BinaryPrimitives.WriteInt64LittleEndian(field[4..], length);
            BinaryPrimitives.WriteInt64LittleEndian(field[12..], length);
            BinaryPrimitives.WriteInt64LittleEndian(field[20..], local);
            stream.Write(entry);
        }
        long end = stream.Position;
        var tail = new byte[56 + 20 + 22];
        BinaryPrimitives.WriteUInt32LittleEndian(tail, 0x06064B50);
        BinaryPrimitives.WriteInt64LittleEndian(tail.AsSpan(4), 44);
        Put16(tail, 12, 45);
        Put16(tail, 14, 45);
        BinaryPrimitives.WriteInt64LittleEndian(tail.AsSpan(24), entries.Count);
        BinaryPrimitives.WriteInt64LittleEndian(tail.AsSpan(32), entries.Count);
        BinaryPrimitives.WriteInt64LittleEndian(tail.AsSpan(40), end - start);
        BinaryPrimitives.WriteInt64LittleEndian(tail.AsSpan(48), start);
        BinaryPrimitives.WriteUInt32LittleEndian(tail.AsSpan(56), 0x07064B50);
        BinaryPrimitives.WriteInt64LittleEndian(tail.AsSpan(64), end);
        Put32(tail, 72, 1);
        BinaryPrimitives.WriteUInt32LittleEndian(tail.AsSpan(76), 0x06054B50);
        Put16(tail, 84, ushort.MaxValue);
        Put16(tail, 86, ushort.MaxValue);
        Put32(tail, 88, uint.MaxValue);
        Put32(tail, 92, uint.MaxValue);
        stream.Write(tail);
    }

    private static void WriteHeader(byte[] header, byte[] name, int extra, uint check, long length)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(header, 0x04034B50);
        Put16(header, 4, 45);
        Put16(header, 6, 0x0800);
        Put32(header, 14, check);
        Put32(header, 18, uint.MaxValue);
        Put32(header, 22, uint.MaxValue);
        Put16(header, 26, name.Length);
        Put16(header, 28, extra);
        name.CopyTo(header, 30);
        Span<byte> field = header.AsSpan(30 + name.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(field, 1);
        BinaryPrimitives.WriteUInt16LittleEndian(field[2..], 16);
        BinaryPrimitives.WriteInt64LittleEndian(field[4..], length);
        BinaryPrimitives.WriteInt64LittleEndian(field[12..], length);
        // "FB" is what PyTorch calls its padding.
        "FB"u8.CopyTo(field[20..]);
        BinaryPrimitives.WriteUInt16LittleEndian(field[22..], (ushort)(extra - 24));
    }

    private static void Put16(byte[] bytes, int at, int value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(at), checked((ushort)value));

    private static void Put32(byte[] bytes, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), value);

    private static uint[] MakeRemainders()
    {
        var remainders = new uint[256];
        for (uint value = 0; value < 256; value++)
        {
            uint remainder = value;
            for (int bit = 0; bit < 8; bit++)
                remainder = (remainder & 1) != 0 ? 0xEDB88320 ^ remainder >> 1 : remainder >> 1;
            remainders[value] = remainder;
        }
        return remainders;
    }

    /// <summary>Counts what passes, and computes its CRC-32.</summary>
    private sealed class CheckingStream(Stream inner) : Stream
    {
        private uint remainder = uint.MaxValue;
        private long length;

        public uint Check => ~remainder;

        public override long Length => length;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Position { get => length; set => throw new NotSupportedException(); }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            foreach (byte value in buffer)
                remainder = Remainders[(byte)(remainder ^ value)] ^ remainder >> 8;
            length += buffer.Length;
            inner.Write(buffer);
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
