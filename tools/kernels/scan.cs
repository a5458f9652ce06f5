#!/usr/bin/env -S dotnet run -c Release
#:project ../../src/ScratchMamba.Tensors/ScratchMamba.Tensors.csproj
#:property PublishAot=false

// y of the scan h_t = exp(dt_t·A)·h_{t−1} + dt_t·x_t⊗B_t, y_t = C_t·h_t, from the recurrence to what the library does.
using System.Diagnostics;
using System.Numerics.Tensors;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using Tensor = ScratchMamba.Tensors.Tensor;

const int H = 8, P = 64, N = 128, Q = 64;
int L = args.Length > 0 ? int.Parse(args[0]) : 1024;
if (L is < 1 or > 16384)
{
    Console.Error.WriteLine("The length is 1 to 16384.");
    return 1;
}
var random = new Random(1);
float[] x = Numbers(L * H * P, () => random.NextSingle() - 0.5), b = Numbers(L * N, () => random.NextSingle() - 0.5), c = Numbers(L * N, () => random.NextSingle() - 0.5);
float[] dt = Numbers(L * H, () => Math.Exp(Math.Log(1e-3) + random.NextDouble() * Math.Log(100))), rates = Numbers(H, () => -1 - 15 * random.NextDouble());
float[] y = new float[L * H * P], reference = [];

Console.WriteLine($"L {L}, H {H}, P {P}, N {N}, one group, float32, medians of five");
Try("the recurrence: every token reads and writes the whole state", Recurrence);
Try("as attention: y = (C·Bᵀ ∘ decay ∘ dt)·x over all pairs of tokens; twice the length is four times the work", Attention);
using (var cpu = new CpuBackend())
{
    Tensor xs = cpu.Tensor(new Shape(1, L, H, P), x), steps = cpu.Tensor(new Shape(1, L, H), dt), a = cpu.Tensor(new Shape(H), rates);
    Tensor bs = cpu.Tensor(new Shape(1, L, 1, N), b), cs = cpu.Tensor(new Shape(1, L, 1, N), c);
    Try("by chunks of 64, as attention inside and by states between them: matrix products, linear in the length, but every intermediate of all chunks goes through memory", () =>
    {
        using var scope = new Scope();
        (Tensor states, _) = xs.ChunkState(steps, a, bs, null, Q).StatePassing(steps.ChunkRetention(a, null, Q));
        xs.ChunkScan(steps, a, bs, cs, states, null, null, Q).Read<float>(y);
    });
    Try("the same, each head led through its chunks with its state in the cache", () =>
    {
        using var scope = new Scope();
        xs.StateSpaceScan(steps, a, bs, cs, chunk: Q).Y.Read<float>(y);
    });
}
return 0;

static float[] Numbers(int count, Func<double> next) => [.. Enumerable.Range(0, count).Select(_ => (float)next())];

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
        reference = [.. y];
    double error = Math.Sqrt(y.Zip(reference, (p, q) => (double)(p - q) * (p - q)).Sum() / reference.Sum(q => (double)q * q));
    Console.WriteLine($"{L / times[2],12:#,0} tokens/s   error {error:0e0}   {name}");
}

void Recurrence()
{
    var h = new float[H * P * N];
    for (int t = 0; t < L; t++)
    {
        ReadOnlySpan<float> bt = b.AsSpan(t * N, N), ct = c.AsSpan(t * N, N);
        for (int head = 0; head < H; head++)
        {
            float step = dt[t * H + head], decay = MathF.Exp(step * rates[head]);
            for (int p = 0; p < P; p++)
            {
                Span<float> row = h.AsSpan((head * P + p) * N, N);
                TensorPrimitives.Multiply(row, decay, row);
                TensorPrimitives.MultiplyAdd(bt, step * x[(t * H + head) * P + p], row, row);
                y[(t * H + head) * P + p] = TensorPrimitives.Dot(ct, row);
            }
        }
    }
}

void Attention()
{
    Array.Clear(y);
    for (int head = 0; head < H; head++)
    {
        var sums = new double[L];
        for (int t = 0; t < L; t++)
            sums[t] = (t > 0 ? sums[t - 1] : 0) + (double)dt[t * H + head] * rates[head];
        for (int t = 0; t < L; t++)
        {
            Span<float> row = y.AsSpan((t * H + head) * P, P);
            for (int s = 0; s <= t; s++)
            {
                float weight = TensorPrimitives.Dot<float>(c.AsSpan(t * N, N), b.AsSpan(s * N, N)) * (float)Math.Exp(sums[t] - sums[s]) * dt[s * H + head];
                TensorPrimitives.MultiplyAdd(x.AsSpan((s * H + head) * P, P), weight, row, row);
            }
        }
    }
}
