using System.Numerics;

namespace ScratchMamba.Data;

/// <summary>
/// A random order of 0 … count − 1 that needs no memory: element i of it is found alone. A Feistel network on as many bits as the numbers have, walked until the result is one of them.
/// Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains" (2002).
/// </summary>
/// <param name="count">How many numbers there are.</param>
/// <param name="seed">Which order.</param>
/// <param name="stream">Which of the seed's orders.</param>
public readonly struct Permutation(long count, ulong seed, ulong stream)
{
    private const int Rounds = 6;

    // At least one bit a side; the domain is less than four times as large as the count, so a walk takes less than four steps on average.
    private readonly int half = Math.Max(1, (64 - BitOperations.LeadingZeroCount((ulong)Math.Max(0, count - 1)) + 1) / 2);
    private readonly ulong key = Mix(seed ^ Mix(stream + 0x9E3779B97F4A7C15));

    /// <summary>Element <paramref name="index"/> of the order.</summary>
    public long this[long index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)index, (ulong)count);
            ulong mask = (1UL << half) - 1, value = (ulong)index;
            do
            {
                ulong left = value >> half, right = value & mask;
                for (ulong round = 0; round < Rounds; round++)
                    (left, right) = (right, (left ^ Mix(key + (round << 56) + right)) & mask);
                value = left << half | right;
            }
            while (value >= (ulong)count);
            return (long)value;
        }
    }

    /// <summary>The finalizer of SplitMix64: Steele, Lea and Flood (2014).</summary>
    private static ulong Mix(ulong x)
    {
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
        x = (x ^ x >> 27) * 0x94D049BB133111EB;
        return x ^ x >> 31;
    }
}
