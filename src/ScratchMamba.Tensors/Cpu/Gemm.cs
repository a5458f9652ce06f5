using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.Intrinsics;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Matrix products <c>C = A · B</c> in some number of batches: A is M×K, B is K×N, at any strides, so that a transposed matrix needs no copy; C is M×N, dense.
/// A batch stride of 0 shares a matrix. Each element's sum is taken in an order that depends on the extents only.
/// </summary>
internal unsafe struct Gemm<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    public T* A, B, C;
    public int Batches, M, N, K;
    public nint ARow, AColumn, ABatch;
    public nint BRow, BColumn, BBatch;

    /// <summary>What is in the place of B where that is held in few bits: one matrix with BRow 1, from number <see cref="NarrowStart"/> on; T is float then.</summary>
    public NarrowMatrix? NarrowB;

    public nint NarrowStart;

    /// <summary>All of B as <see cref="Pack"/> makes it, where it has been; one batch.</summary>
    public T* PanelsB;

    /// <summary>Multiply-adds that take as long as one elementary operation of <see cref="CpuParallel"/>.</summary>
    public const int FusedPerOperation = 8;

    // A result of up to 128 × 128 has too few tiles to keep threads busy, and then the inner axis is long where the product is worth it.
    private const long SmallResult = 128 * 128;
    // Of more rows, packing the matrix costs less than reading it again for each.
    private const int MostNarrowRows = 12;

    private const int LeastPart = 512, MostParts = 16;

    [ThreadStatic]
    private static T[]? partials;

    /// <summary>Computes the product.</summary>
    public readonly void Run(int threads, int vectorBits)
    {
        if (vectorBits >= 512)
            Run<GemmKernel14<Lanes512<T>, Vector512<T>, T>, Lanes512<T>, Vector512<T>>(threads);
        else if (vectorBits == 256)
            Run<GemmKernel6<Lanes256<T>, Vector256<T>, T>, Lanes256<T>, Vector256<T>>(threads);
        else
            Run<GemmKernel6<Lanes128<T>, Vector128<T>, T>, Lanes128<T>, Vector128<T>>(threads);
    }

    /// <summary>The extents of what <see cref="Pack"/> writes.</summary>
    public readonly Shape PanelShape(int vectorBits)
    {
        int columns = 2 * vectorBits / (8 * sizeof(T));
        return [(N + columns - 1) / columns, K, columns];
    }

    /// <summary>Packs all of B, for any number of products with it.</summary>
    public readonly void Pack(T* panels, int threads, int vectorBits)
    {
        if (vectorBits >= 512)
            GemmBlocks<GemmKernel14<Lanes512<T>, Vector512<T>, T>, T>.Pack(this, panels, threads);
        else if (vectorBits == 256)
            GemmBlocks<GemmKernel6<Lanes256<T>, Vector256<T>, T>, T>.Pack(this, panels, threads);
        else
            GemmBlocks<GemmKernel6<Lanes128<T>, Vector128<T>, T>, T>.Pack(this, panels, threads);
    }

    private readonly void Run<TKernel, TLanes, TVector>(int threads)
        where TKernel : struct, IGemmKernel<T> where TLanes : struct, ILanes<TVector, T> where TVector : struct
    {
        if (Batches == 0 || M == 0 || N == 0)
            return;
        if (K == 0)
        {
            new Span<T>(C, checked(Batches * M * N)).Clear();
            return;
        }
        if (NarrowB is { } narrow && M <= MostNarrowRows)
        {
            if (narrow.DType.IsQuantized())
                GemmQuantized<TLanes, TVector, T>.Run(this, threads);
            else
                GemmNarrow<TLanes, TVector, T>.Run(this, threads);
            return;
        }
        if (NarrowB is null && GemmSkinny<TLanes, TVector, T>.Fits(this))
        {
            new GemmSkinny<TLanes, TVector, T>(this).Run(threads);
            return;
        }
        // Many small products keep the threads busy with one each; a large one keeps them all busy.
        if (Batches > 1 && (long)M * N <= 256 * 256)
        {
            CpuParallel.For(threads, Batches, (long)M * N * K / FusedPerOperation, new BatchBody<TKernel> { Product = this });
            return;
        }
        for (int i = 0; i < Batches; i++)
            Batch(i).RunOne<TKernel>(threads);
    }

    private readonly Gemm<T> Batch(int index) =>
        this with { A = A + index * ABatch, B = B + index * BBatch, C = C + (nint)index * M * N, Batches = 1 };

    private readonly void RunOne<TKernel>(int threads) where TKernel : struct, IGemmKernel<T>
    {
        if ((long)M * N > SmallResult || K < 2 * LeastPart)
        {
            GemmBlocks<TKernel, T>.Run(this, threads);
            return;
        }
        // The inner axis in parts, whose products are added in order.
        int parts = Math.Min(K / LeastPart, MostParts), length = (K / parts + 4) / 4 * 4;
        parts = (K + length - 1) / length;
        if (partials is null || partials.Length < parts * M * N)
            partials = GC.AllocateUninitializedArray<T>(parts * M * N, pinned: true);
        fixed (T* sums = partials)
        {
            CpuParallel.For(threads, parts, (long)M * N * length / FusedPerOperation, new PartBody<TKernel> { Product = this, Partials = sums, Length = length });
            CpuParallel.For(threads, M, parts * N / 4, new SumBody { Product = this, Partials = sums, Parts = parts });
        }
    }

    private struct BatchBody<TKernel> : IParallelBody where TKernel : struct, IGemmKernel<T>
    {
        public Gemm<T> Product;

        public readonly void Invoke(int index) => Product.Batch(index).RunOne<TKernel>(threads: 1);
    }

    private struct PartBody<TKernel> : IParallelBody where TKernel : struct, IGemmKernel<T>
    {
        public Gemm<T> Product;
        public T* Partials;
        public int Length;

        public readonly void Invoke(int index)
        {
            int start = index * Length;
            Gemm<T> part = Product with
            {
                A = Product.A + start * Product.AColumn,
                B = Product.B + start * Product.BRow,
                NarrowStart = Product.NarrowStart + start,
                PanelsB = null,
                C = Partials + index * Product.M * Product.N,
                K = Math.Min(Length, Product.K - start),
            };
            GemmBlocks<TKernel, T>.Run(part, threads: 1);
        }
    }

    private struct SumBody : IParallelBody
    {
        public Gemm<T> Product;
        public T* Partials;
        public int Parts;

        public readonly void Invoke(int index)
        {
            int width = Product.N;
            var sum = new Span<T>(Product.C + index * width, width);
            new ReadOnlySpan<T>(Partials + index * width, width).CopyTo(sum);
            for (int part = 1; part < Parts; part++)
                TensorPrimitives.Add(sum, new ReadOnlySpan<T>(Partials + ((nint)part * Product.M + index) * width, width), sum);
        }
    }
}
