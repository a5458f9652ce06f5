using System.Numerics;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

/// <summary>C·Bᵀ of every chunk and group, which all heads of the group share. Of each square, [Q, Q] with rows <see cref="ChunkTile.Pitch"/>(Q) apart, the lower triangle is computed.</summary>
internal unsafe struct ChunkProducts<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
{
    public SmallMatrix Matrix;
    public ScanShape Shape;
    public T* B, C, To;

    public readonly int Square => Shape.LongestChunk * ChunkTile.Pitch(Shape.LongestChunk);

    /// <summary>The number of squares.</summary>
    public readonly int Count => checked(Shape.B * Shape.Chunks * Shape.G);

    /// <summary>Where the square of a chunk begins.</summary>
    public readonly T* Of(int batch, int chunk, int group) => To + (((long)batch * Shape.Chunks + chunk) * Shape.G + group) * Square;

    public readonly void Compute(int threads) => CpuParallel.For(threads, Count, (long)Square * Shape.N / 16, this);

    public readonly void Invoke(int index)
    {
        (int group, int part) = (index % Shape.G, index / Shape.G);
        int chunk = part % Shape.Chunks, batch = part / Shape.Chunks, length = Shape.Length(chunk);
        long at = (((long)batch * Shape.L + chunk * Shape.Q) * Shape.G + group) * Shape.N;
        nint row = (nint)Shape.G * Shape.N;
        CpuScratch scratch = default;
        T* panels = scratch.Take<T>(Matrix.PackedSize<T>(Shape.N, length));
        Matrix.Pack(Shape.N, length, B + at, 1, row, panels);
        Matrix.Multiply(length, length, Shape.N, C + at, row, 1, panels, Of(batch, chunk, group), ChunkTile.Pitch(Shape.LongestChunk), triangle: Triangle.LowerResult);
    }
}
