namespace ScratchMamba.Tensors;

/// <summary>
/// Random numbers by counting: word 4b + j of a sequence is word j of Philox4x32-10 applied to the counter (b, stream) under the key seed.
/// A seed and a stream number give the same sequence everywhere, different streams are independent, and <see cref="Position"/> is all the state there is.
/// Source: Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
/// </summary>
/// <param name="seed">The key.</param>
/// <param name="stream">The upper half of the counter: which of the seed's sequences.</param>
public sealed class Philox(ulong seed, ulong stream = 0)
{
    private (uint, uint, uint, uint) block;
    private ulong heldBlock;
    private bool holdsBlock;

    /// <summary>The key.</summary>
    public ulong Seed { get; } = seed;

    /// <summary>Which of the seed's sequences this is.</summary>
    public ulong Stream { get; } = stream;

    /// <summary>How many 32-bit words have been drawn; set it to go on from there.</summary>
    public ulong Position { get; set; }

    /// <summary>32 random bits: one word.</summary>
    public uint NextUInt32()
    {
        ulong wanted = Position / 4;
        if (!holdsBlock || heldBlock != wanted)
            (block, heldBlock, holdsBlock) = (Block(wanted, Stream, Seed), wanted, true);
        return (Position++ % 4) switch
        {
            0 => block.Item1,
            1 => block.Item2,
            2 => block.Item3,
            _ => block.Item4,
        };
    }

    /// <summary>64 random bits: two words, the first the upper half.</summary>
    public ulong NextUInt64() => (ulong)NextUInt32() << 32 | NextUInt32();

    /// <summary>A uniform number in [0, 1), a multiple of 2⁻²⁴: one word. The n-th is element n of the tensor that <see cref="Operations.Uniform"/> makes.</summary>
    public float NextSingle() => ToUnit(NextUInt32());

    /// <summary>A uniform number in [0, 1), a multiple of 2⁻⁵³: two words.</summary>
    public double NextDouble() => (NextUInt64() >> 11) * (1.0 / (1UL << 53));

    /// <summary>A normal number with mean 0 and standard deviation 1, by the method of Box and Muller: four words.</summary>
    public double NextNormal()
    {
        // 1 − u is never 0.
        double radius = Math.Sqrt(-2 * Math.Log(1 - NextDouble()));
        return radius * Math.Cos(2 * Math.PI * NextDouble());
    }

    /// <summary>A uniform integer in [0, <paramref name="bound"/>), without bias: one word, rarely more.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The bound is not positive.</exception>
    public int Next(int bound)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bound);
        // The upper word of word · bound is the result. 2³² mod bound of the lower words are one too many for some results: they are drawn again.
        // Source: Lemire, Fast Random Integer Generation in an Interval (2019).
        ulong product = (ulong)NextUInt32() * (uint)bound;
        if ((uint)product < (uint)bound)
        {
            uint surplus = (uint)((1UL << 32) % (uint)bound);
            while ((uint)product < surplus)
                product = (ulong)NextUInt32() * (uint)bound;
        }
        return (int)(product >> 32);
    }

    /// <summary>Puts elements into a uniformly random order.</summary>
    public void Shuffle<T>(Span<T> values)
    {
        for (int i = values.Length - 1; i > 0; i--)
        {
            int j = Next(i + 1);
            (values[i], values[j]) = (values[j], values[i]);
        }
    }

    /// <summary>The upper 24 bits of a word as a multiple of 2⁻²⁴ in [0, 1): exact, so the same on every device.</summary>
    internal static float ToUnit(uint word) => (word >> 8) * (1f / (1 << 24));

    /// <summary>Philox4x32-10 of the counter (index, stream), lower words first, under the key <paramref name="seed"/>.</summary>
    internal static (uint, uint, uint, uint) Block(ulong index, ulong stream, ulong seed)
    {
        uint a = (uint)index, b = (uint)(index >> 32), c = (uint)stream, d = (uint)(stream >> 32);
        uint key0 = (uint)seed, key1 = (uint)(seed >> 32);
        for (int round = 0; round < 10; round++)
        {
            ulong first = 0xD2511F53UL * a, second = 0xCD9E8D57UL * c;
            (a, b, c, d) = ((uint)(second >> 32) ^ b ^ key0, (uint)second, (uint)(first >> 32) ^ d ^ key1, (uint)first);
            key0 += 0x9E3779B9;
            key1 += 0xBB67AE85;
        }
        return (a, b, c, d);
    }
}
