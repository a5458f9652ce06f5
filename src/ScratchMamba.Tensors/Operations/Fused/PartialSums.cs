using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

/// <summary>The second half of a reduction whose first half was spread over threads: the parts are those of the problem, and are added in their order.</summary>
internal static unsafe class PartialSums
{
    private const int MostParts = 128, ColumnBlock = 1024;

    /// <summary>How many rows make one part where each part keeps a sum of its own: at least <paramref name="least"/>, so that the sums stay few.</summary>
    public static int RowsPerPart(long rows, int least = 16) => (int)Math.Max(least, (rows + MostParts - 1) / MostParts);

    /// <summary><c>sum[i] = Σₚ partial[p, i]</c>; zeros where there is no part.</summary>
    public static void Add<T>(int threads, T* partial, int parts, int length, T* sum) where T : unmanaged, IFloatingPointIeee754<T>
    {
        var body = new Body<T> { Partial = partial, Sum = sum, Parts = parts, Length = length };
        CpuParallel.For(threads, (length + ColumnBlock - 1) / ColumnBlock, (long)parts * Math.Min(length, ColumnBlock), body);
    }

    private struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public T* Partial, Sum;
        public int Parts, Length;

        public readonly void Invoke(int index)
        {
            int start = index * ColumnBlock, count = Math.Min(ColumnBlock, Length - start);
            var sum = new Span<T>(Sum + start, count);
            sum.Clear();
            for (int part = 0; part < Parts; part++)
                TensorPrimitives.Add(sum, new ReadOnlySpan<T>(Partial + (long)part * Length + start, count), sum);
        }
    }
}
