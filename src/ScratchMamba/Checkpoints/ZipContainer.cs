using System.Buffers.Binary;
using System.Text;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// The directory of a zip file whose entries are stored without compression, as PyTorch writes them; 64-bit sizes included. Nothing is unpacked: an entry is a place in the file.
/// Entries that are compressed, encrypted, outside of the file or over each other are refused, so that no entry is larger than the file and all of them together are not either.
/// </summary>
internal sealed class ZipContainer
{
    private const uint EndMark = 0x06054B50, End64Mark = 0x06064B50, Locator64Mark = 0x07064B50, EntryMark = 0x02014B50, LocalMark = 0x04034B50;
    private const int MostEntries = 1 << 20;
    private const long MostDirectoryBytes = 1 << 27;

    private readonly Dictionary<string, (long Start, long Length)> entries = new(StringComparer.Ordinal);
    private readonly InputFile file;

    /// <summary>Reads the directory of an open file.</summary>
    /// <exception cref="CheckpointException">It is damaged, or an entry is not simply stored.</exception>
    public ZipContainer(InputFile file)
    {
        this.file = file;
        (long start, long length, long count) = FindDirectory();
        if (count > MostEntries || length > MostDirectoryBytes)
            throw Fault($"its directory claims {count:N0} entries in {length:N0} bytes");
        if (start < 0 || length < 0 || start > file.Length - length)
            throw Fault("its directory lies outside the file; it is cut short");
        var directory = new byte[length];
        file.Read(start, directory);
        int position = 0;
        for (long i = 0; i < count; i++)
            ReadEntry(directory, ref position, start);
        long end = 0;
        string? before = null;
        foreach ((string name, (long Start, long Length) place) in entries.OrderBy(entry => entry.Value.Start))
        {
            if (place.Start < end)
                throw Fault($"entries {CheckpointException.Shown(before!)} and {CheckpointException.Shown(name)} lie over each other");
            (end, before) = (place.Start + place.Length, name);
        }
    }

    /// <summary>The entries' names.</summary>
    public IReadOnlyCollection<string> Names => entries.Keys;

    /// <summary>Where an entry's bytes lie in the file.</summary>
    public bool TryFind(string name, out (long Start, long Length) place) => entries.TryGetValue(name, out place);

    private (long Start, long Length, long Count) FindDirectory()
    {
        // The end record is the last 22 bytes, before a comment of at most 65,535.
        var tail = new byte[(int)Math.Min(file.Length, 22 + 0xFFFF)];
        file.Read(file.Length - tail.Length, tail);
        int at = tail.Length - 22;
        while (at >= 0 && (ReadUInt32(tail, at) != EndMark || ReadUInt16(tail, at + 20) != tail.Length - at - 22))
            at--;
        if (at < 0)
            throw Fault("it has no directory; it is cut short, or not a zip file");
        (long start, long length, long count) = (ReadUInt32(tail, at + 16), ReadUInt32(tail, at + 12), ReadUInt16(tail, at + 10));
        long locatorAt = file.Length - tail.Length + at - 20;
        if ((start != uint.MaxValue && length != uint.MaxValue && count != ushort.MaxValue) || locatorAt < 0)
            return (start, length, count);
        var locator = new byte[20];
        file.Read(locatorAt, locator);
        if (ReadUInt32(locator, 0) != Locator64Mark)
            return (start, length, count);
        long recordAt = (long)BinaryPrimitives.ReadUInt64LittleEndian(locator.AsSpan(8));
        var record = new byte[56];
        if (recordAt < 0 || recordAt > file.Length - record.Length)
            throw Fault("the record of its 64-bit directory lies outside the file");
        file.Read(recordAt, record);
        if (ReadUInt32(record, 0) != End64Mark)
            throw Fault("the record of its 64-bit directory is not where it should be");
        return (ReadInt64(record, 48), ReadInt64(record, 40), ReadInt64(record, 32));
    }

    private void ReadEntry(byte[] directory, ref int position, long directoryStart)
    {
        if (position > directory.Length - 46 || ReadUInt32(directory, position) != EntryMark)
            throw Fault($"entry {entries.Count} of its directory is damaged");
        int nameLength = ReadUInt16(directory, position + 28), extraLength = ReadUInt16(directory, position + 30), commentLength = ReadUInt16(directory, position + 32);
        if (position + 46 > directory.Length - nameLength - extraLength - commentLength)
            throw Fault($"entry {entries.Count} of its directory is cut short");
        string name = Encoding.UTF8.GetString(directory, position + 46, nameLength);
        int flags = ReadUInt16(directory, position + 8), method = ReadUInt16(directory, position + 10);
        long packed = ReadUInt32(directory, position + 20), length = ReadUInt32(directory, position + 24), local = ReadUInt32(directory, position + 42);
        ReadWide(directory.AsSpan(position + 46 + nameLength, extraLength), ref length, ref packed, ref local);
        position += 46 + nameLength + extraLength + commentLength;
        if ((flags & 1) != 0)
            throw Fault($"entry {CheckpointException.Shown(name)} is encrypted");
        if (method != 0 || packed != length)
            throw Fault($"entry {CheckpointException.Shown(name)} is compressed (method {method}), which PyTorch does not do");
        var header = new byte[30];
        if (length < 0 || local < 0 || local > directoryStart - header.Length)
            throw Fault($"entry {CheckpointException.Shown(name)} lies outside the file");
        file.Read(local, header);
        if (ReadUInt32(header, 0) != LocalMark)
            throw Fault($"entry {CheckpointException.Shown(name)} is not where the directory says");
        long start = local + header.Length + ReadUInt16(header, 26) + ReadUInt16(header, 28);
        if (length > directoryStart - start)
            throw Fault($"entry {CheckpointException.Shown(name)} lies outside the file");
        if (!entries.TryAdd(name, (start, length)))
            throw Fault($"entry {CheckpointException.Shown(name)} is there twice");
    }

    /// <summary>Numbers that do not fit 32 bits stand in an extra field, in this order, each only if it does not.</summary>
    private static void ReadWide(ReadOnlySpan<byte> extra, ref long length, ref long packed, ref long local)
    {
        while (extra.Length >= 4)
        {
            int id = BinaryPrimitives.ReadUInt16LittleEndian(extra), size = Math.Min(BinaryPrimitives.ReadUInt16LittleEndian(extra[2..]), extra.Length - 4);
            ReadOnlySpan<byte> field = extra.Slice(4, size);
            extra = extra[(4 + size)..];
            if (id != 1)
                continue;
            Take(ref field, ref length);
            Take(ref field, ref packed);
            Take(ref field, ref local);
        }

        static void Take(ref ReadOnlySpan<byte> field, ref long value)
        {
            if (value != uint.MaxValue || field.Length < 8)
                return;
            value = BinaryPrimitives.ReadInt64LittleEndian(field);
            field = field[8..];
        }
    }

    private static ushort ReadUInt16(byte[] bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at));

    private static uint ReadUInt32(byte[] bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));

    private static long ReadInt64(byte[] bytes, int at) => BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(at));

    private CheckpointException Fault(string what) => new($"{file.Path}: {what}");
}
