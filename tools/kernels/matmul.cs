#!/usr/bin/env -S dotnet run -c Release
#:project ../../src/ScratchMamba.Tensors/ScratchMamba.Tensors.csproj
#:property AllowUnsafeBlocks=true
#:property PublishAot=false

// C = A·B of n × n matrices, from the definition to what the library does, each step with the one reason why it is faster than the last.
using System.Diagnostics;
using System.Numerics;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

int n = args.Length > 0 ? int.Parse(args[0]) : 768;
if (n % 32 != 0 || n is < 32 or > 4096)
{
    Console.Error.WriteLine("The extent is a multiple of 32 from 32 to 4096.");
    return 1;
}
var random = new Random(1);
float[] a = [.. Enumerable.Range(0, n * n).Select(_ => random.NextSingle() - 0.5f)], b = [.. Enumerable.Range(0, n * n).Select(_ => random.NextSingle() - 0.5f)];
var c = new float[n * n];

Console.WriteLine($"{n} × {n} × {n}, float32, vectors of {Vector<float>.Count}, medians of five");
float[] reference = [];
Try("the definition: a row times a column, which lies across memory", () => Definition(n, a, b, c));
Try("rows of B added to rows of C: all memory is read along", () => Rows(n, a, b, c));
Try("the same by vectors: one instruction for eight products, but two loads and a store for each", () => Vectors(n, a, b, c));
Try("4 × 2 vectors of C stay in registers: six loads for eight products, no store", () => Registers(n, a, b, c));
foreach (int threads in new[] { 1, 0 })
{
    using var cpu = new CpuBackend(threads);
    Tensor x = cpu.Tensor(new Shape(n, n), a), y = cpu.Tensor(new Shape(n, n), b);
    Try($"the library: panels packed in the order of reading, tiles as large as the registers, {(threads == 1 ? "one thread" : "all threads")}", () =>
    {
        using var scope = new Scope();
        x.MatMul(y).Read<float>(c);
    });
}
return 0;

void Try(string name, Action step)
{
    // Code is compiled a second time, better, once it has run often.
    for (long begin = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(begin).TotalSeconds < 1;)
        step();
    double[] times = [.. Enumerable.Range(0, 5).Select(_ =>
    {
        long start = Stopwatch.GetTimestamp();
        step();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }).Order()];
    if (reference.Length == 0)
        reference = [.. c];
    double error = Math.Sqrt(c.Zip(reference, (p, q) => (double)(p - q) * (p - q)).Sum() / reference.Sum(q => (double)q * q));
    Console.WriteLine($"{2.0 * n * n * n / times[2] / 1e9,8:0.0} GFLOP/s   error {error:0e0}   {name}");
}

static void Definition(int n, float[] a, float[] b, float[] c)
{
    for (int i = 0; i < n; i++)
    {
        for (int j = 0; j < n; j++)
        {
            float sum = 0;
            for (int k = 0; k < n; k++)
                sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
    }
}

static void Rows(int n, float[] a, float[] b, float[] c)
{
    Array.Clear(c);
    for (int i = 0; i < n; i++)
    {
        for (int k = 0; k < n; k++)
        {
            float factor = a[i * n + k];
            for (int j = 0; j < n; j++)
                c[i * n + j] += factor * b[k * n + j];
        }
    }
}

static unsafe void Vectors(int n, float[] a, float[] b, float[] c)
{
    Array.Clear(c);
    fixed (float* pa = a, pb = b, pc = c)
    {
        for (int i = 0; i < n; i++)
        {
            for (int k = 0; k < n; k++)
            {
                var factor = new Vector<float>(pa[i * n + k]);
                for (int j = 0; j < n; j += Vector<float>.Count)
                    Vector.Store(Vector.FusedMultiplyAdd(factor, Vector.Load(pb + k * n + j), Vector.Load(pc + i * n + j)), pc + i * n + j);
            }
        }
    }
}

static unsafe void Registers(int n, float[] a, float[] b, float[] c)
{
    int width = Vector<float>.Count;
    fixed (float* pa = a, pb = b, pc = c)
    {
        for (int j = 0; j < n; j += 2 * width)
        {
            for (int i = 0; i < n; i += 4)
            {
                Vector<float> z00 = default, z01 = default, z10 = default, z11 = default, z20 = default, z21 = default, z30 = default, z31 = default;
                float* x = pa + i * n, y = pb + j, z = pc + i * n + j;
                for (int k = 0; k < n; k++, x++, y += n)
                {
                    Vector<float> y0 = Vector.Load(y), y1 = Vector.Load(y + width), p = new(x[0]);
                    z00 = Vector.FusedMultiplyAdd(p, y0, z00);
                    z01 = Vector.FusedMultiplyAdd(p, y1, z01);
                    p = new Vector<float>(x[n]);
                    z10 = Vector.FusedMultiplyAdd(p, y0, z10);
                    z11 = Vector.FusedMultiplyAdd(p, y1, z11);
                    p = new Vector<float>(x[2 * n]);
                    z20 = Vector.FusedMultiplyAdd(p, y0, z20);
                    z21 = Vector.FusedMultiplyAdd(p, y1, z21);
                    p = new Vector<float>(x[3 * n]);
                    z30 = Vector.FusedMultiplyAdd(p, y0, z30);
                    z31 = Vector.FusedMultiplyAdd(p, y1, z31);
                }
                Vector.Store(z00, z);
                Vector.Store(z01, z + width);
                Vector.Store(z10, z + n);
                Vector.Store(z11, z + n + width);
                Vector.Store(z20, z + 2 * n);
                Vector.Store(z21, z + 2 * n + width);
                Vector.Store(z30, z + 3 * n);
                Vector.Store(z31, z + 3 * n + width);
            }
        }
    }
}
