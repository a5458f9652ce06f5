namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// Copies a rectangle of bytes: <see cref="Rows"/> runs of <see cref="Length"/> bytes, <see cref="SourcePitch"/> and <see cref="TargetPitch"/> apart.
/// Taking a part of one axis, or putting one there, is such a copy: a row holds that axis and all behind it.
/// </summary>
internal unsafe struct BlockCopy : IParallelBody
{
    private const long PartBytes = 1 << 16;

    public byte* Source, Target;
    public long SourcePitch, TargetPitch, Length, Rows;
    private long rowsPerPart;

    public void Run(int threads)
    {
        if (Rows == 0 || Length == 0)
            return;
        rowsPerPart = Math.Max(1, PartBytes / Length);
        CpuParallel.For(threads, checked((int)((Rows + rowsPerPart - 1) / rowsPerPart)), rowsPerPart * Length / 4, this);
    }

    public readonly void Invoke(int index)
    {
        long end = Math.Min(Rows, (index + 1L) * rowsPerPart);
        for (long row = index * rowsPerPart; row < end; row++)
            Buffer.MemoryCopy(Source + row * SourcePitch, Target + row * TargetPitch, Length, Length);
    }
}
