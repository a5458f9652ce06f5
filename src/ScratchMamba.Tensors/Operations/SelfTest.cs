namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// An operation that a device with matrix units computes by other kernels than one without: on such a device both must agree, but for what rounding operands to 16 bits changes.
/// </summary>
/// <param name="Operation">The operation.</param>
/// <param name="Inputs">The types of its inputs, and up to which number each is drawn.</param>
internal sealed record SelfTest(IPrimitive Operation, params IReadOnlyList<(TensorType Type, double Scale)> Inputs)
{
    /// <summary>The largest ‖a − b‖ / max(‖b‖, 1) between the two: operands of 8 bits of precision differ by 4e-3 at most, and gradients of a scan take several roundings.</summary>
    public const double Tolerance = 2e-2;

    /// <summary>A test or more for each family of kernels, of shapes that take their branches: few, since compiling takes a quarter of a second and more for each kernel when it is first needed.</summary>
    public static IReadOnlyList<SelfTest> OnMatrixUnits { get; } = All();

    private static SelfTest[] All()
    {
        var tests = new List<SelfTest>();
        foreach ((bool transposeA, bool transposeB, MatMulPrecision precision, DType type) in (ReadOnlySpan<(bool, bool, MatMulPrecision, DType)>)
            [(false, false, MatMulPrecision.Bfloat16, DType.BF16), (false, true, MatMulPrecision.Float16, DType.F16), (true, false, MatMulPrecision.Bfloat16x3, DType.F32)])
        {
            const int m = 328, n = 264, k = 1048;
            Shape a = transposeA ? [k, m] : [m, k], b = transposeB ? [n, k] : [k, n];
            tests.Add(new(new MatMul(transposeA, transposeB, precision), (new(type, a), 1), (new(type, b), 1 / Math.Sqrt(k))));
        }
        tests.Add(new(new MatMul(false, true), (new(DType.F32, [32, 512]), 1), (new(DType.BF16, [136, 512]), 0.05)));
        foreach (MatMulPrecision precision in (ReadOnlySpan<MatMulPrecision>)[MatMulPrecision.Full, MatMulPrecision.Bfloat16])
            tests.Add(new(new NormLinear(1e-5, true, precision), (new(DType.F32, [40, 512]), 1), (new(DType.F32, [512]), 1), (new(DType.BF16, [136, 512]), 0.05), (new(DType.F32, [40, 136]), 1)));
        foreach (DType type in (ReadOnlySpan<DType>)[DType.F32, DType.BF16])
        {
            const int length = 200, chunk = 128, chunks = 2, states = 128;
            const MatMulPrecision rounded = MatMulPrecision.Bfloat16;
            (TensorType, double) x = (new(type, [1, length, 2, 64]), 1), dt = (new(DType.F32, [1, length, 2]), 0.1), a = (new(DType.F32, [2]), -1), b = (new(type, [1, length, 1, states]), 1),
                before = (new(type, [1, chunks, 2, 64, states]), 1), last = (new(DType.F32, [1, 2, 64, states]), 1), skip = (new(DType.F32, [2]), 1);
            tests.Add(new(new StateSpaceScan(chunk, true, false, false, true, rounded), x, dt, a, b, b, skip));
            tests.Add(new(new StateSpaceScanGradient(chunk, true, false, false, rounded), x, dt, a, b, b, skip, before, x, last));
            tests.Add(new(new ChunkState(chunk, false, rounded), x, dt, a, b));
            tests.Add(new(new ChunkStateGradient(chunk, false, rounded), x, dt, a, b, before));
            tests.Add(new(new ChunkScan(chunk, true, false, rounded), x, dt, a, b, b, before, skip));
            tests.Add(new(new ChunkScanGradient(chunk, true, false, rounded), x, dt, a, b, b, before, skip, x));
        }
        return [.. tests];
    }
}
