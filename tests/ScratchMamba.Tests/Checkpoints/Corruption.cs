using ScratchMamba.Checkpoints;

namespace ScratchMamba.Tests.Checkpoints;

/// <summary>Damages a file in many ways, and looks that reading it gives a clear error or values, and takes little memory.</summary>
internal static class Corruption
{
    // What the process takes anyway: buffers, messages, the test's own copies.
    private const long Slack = 64 << 20;

    private static readonly ulong[] Absurd = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, ulong.MaxValue, 0x100000000, 0x3FFFFFFFFFFFFFFF];

    /// <summary>Reads <paramref name="path"/>, damaged in <paramref name="count"/> ways, with <paramref name="read"/>.</summary>
    public static void Check(byte[] whole, string path, int count, Action<string> read) => Check(whole, path, count, 20L * whole.Length + Slack, read);

    /// <summary>The same, with so many bytes of memory at most.</summary>
    public static void Check(byte[] whole, string path, int count, long most, Action<string> read)
    {
        for (int seed = 0; seed < count; seed++)
        {
            File.WriteAllBytes(path, Damaged(whole, new Random(seed)));
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                read(path);
            }
            catch (CheckpointException error)
            {
                Assert.StartsWith(Path.GetDirectoryName(path)!, error.Message, StringComparison.Ordinal);
                Assert.DoesNotContain('\n', error.Message);
            }
            catch (Exception error)
            {
                throw new InvalidOperationException($"damage {seed}: {error}", error);
            }
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < most, $"damage {seed} takes {GC.GetAllocatedBytesForCurrentThread() - before} bytes");
        }
    }

    /// <summary>Reads every tensor of a file of weights.</summary>
    public static void ReadAll(string path)
    {
        using WeightSource source = WeightSource.Open(path);
        foreach (string name in source.Names)
        {
            if (source.Entry(name).Type is StoredType.I32 or StoredType.I64)
                source.ReadInts(name);
            else
                source.ReadFloats(name);
        }
        _ = source.Metadata.Count;
    }

    private static byte[] Damaged(byte[] whole, Random random)
    {
        byte[] damaged = [.. whole];
        // Headers are where damage does most: half of it goes there.
        int Place() => random.Next(random.Next(2) == 0 ? damaged.Length : Math.Min(damaged.Length, 4096));
        switch (random.Next(5))
        {
            case 0:
                for (int i = random.Next(1, 20); i > 0; i--)
                    damaged[Place()] ^= (byte)(1 << random.Next(8));
                return damaged;
            case 1:
                return damaged[..random.Next(damaged.Length)];
            case 2:
                byte[] number = BitConverter.GetBytes(Absurd[random.Next(Absurd.Length)])[..(random.Next(3) switch { 0 => 8, 1 => 4, _ => 2 })];
                int at = Place();
                number.AsSpan(0, Math.Min(number.Length, damaged.Length - at)).CopyTo(damaged.AsSpan(at));
                return damaged;
            case 3:
                int from = Place(), to = Place(), length = random.Next(1, 64);
                damaged.AsSpan(from, Math.Min(length, damaged.Length - from)).ToArray().AsSpan(0, Math.Min(Math.Min(length, damaged.Length - from), damaged.Length - to)).CopyTo(damaged.AsSpan(to));
                return damaged;
            default:
                int cut = Place();
                return [.. damaged[..cut], .. damaged[Math.Min(damaged.Length, cut + random.Next(1, 40))..]];
        }
    }
}
