using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

/// <summary>What is done for each row of a matrix where the rows also add to one sum, as long as a row.</summary>
internal unsafe interface IRowBody<T> where T : unmanaged
{
    /// <summary>Does one row and adds to the sum of its part.</summary>
    /// <param name="row">The number of the row.</param>
    /// <param name="sum">The sum, as long as a row.</param>
    /// <param name="room">Scratch memory of the length asked for.</param>
    void Row(long row, T* sum, T* room);
}

/// <summary>Sums over rows, spread over threads: the parts are those of the problem, and are added in their order.</summary>
internal static unsafe class PartialSums
{
    private const int MostParts = 128, ColumnBlock = 1024;

    /// <summary>How many rows make one part where each part keeps a sum of its own: at least <paramref name="least"/>, so that the sums stay few.</summary>
    public static int RowsPerPart(long rows, int least = 16) => (int)Math.Max(least, (rows + MostParts - 1) / MostParts);

    /// <summary>Does all rows, and writes what they add up to; zeros where there is no row.</summary>
    /// <param name="threads">How many threads may take part.</param>
    /// <param name="rows">The number of rows.</param>
    /// <param name="columns">The length of a row and of the sum.</param>
    /// <param name="room">Elements of scratch memory that a row needs.</param>
    /// <param name="costPerElement">Elementary operations for each element of a row.</param>
    /// <param name="body">What to do for a row.</param>
    /// <param name="sum">The sum.</param>
    public static void OfRows<TBody, T>(int threads, long rows, int columns, int room, int costPerElement, in TBody body, T* sum)
        where TBody : struct, IRowBody<T> where T : unmanaged, IFloatingPointIeee754<T>
    {
        int rowsPerPart = RowsPerPart(rows), parts = (int)((rows + rowsPerPart - 1) / rowsPerPart);
        T[] scratch = ArrayPool<T>.Shared.Rent(checked(parts * columns));
        fixed (T* partial = scratch)
        {
            var part = new RowsBody<TBody, T> { Body = body, Partial = partial, Rows = rows, Columns = columns, Room = room, RowsPerPart = rowsPerPart };
            if (columns > 0)
                CpuParallel.For(threads, parts, (long)costPerElement * rowsPerPart * columns, part);
            Add(threads, partial, parts, columns, sum);
        }
        ArrayPool<T>.Shared.Return(scratch);
    }

    /// <summary><c>sum[i] = Σₚ partial[p, i]</c>; zeros where there is no part.</summary>
    public static void Add<T>(int threads, T* partial, int parts, int length, T* sum) where T : unmanaged, IFloatingPointIeee754<T>
    {
        var body = new Body<T> { Partial = partial, Sum = sum, Parts = parts, Length = length };
        CpuParallel.For(threads, (length + ColumnBlock - 1) / ColumnBlock, (long)parts * Math.Min(length, ColumnBlock), body);
    }

    private struct RowsBody<TBody, T> : IParallelBody where TBody : struct, IRowBody<T> where T : unmanaged, IFloatingPointIeee754<T>
    {
        public TBody Body;
        public T* Partial;
        public long Rows;
        public int Columns, Room, RowsPerPart;

        public readonly void Invoke(int index)
        {
            CpuScratch scratch = default;
            T* sum = Partial + (long)index * Columns, room = scratch.Take<T>(Room);
            new Span<T>(sum, Columns).Clear();
            long end = Math.Min(Rows, ((long)index + 1) * RowsPerPart);
            for (long row = (long)index * RowsPerPart; row < end; row++)
                Body.Row(row, sum, room);
        }
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
