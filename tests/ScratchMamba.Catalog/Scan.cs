using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Scan =>
    [
        Row<ChunkState>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                return new Case(new ChunkState(e.Q, e.HasSequence), [e.X(draw), e.Dt(draw), e.A(draw), e.B(draw), .. e.Sequence(draw)]);
            },
            new Misuse(new ChunkState(4, false), "x must be", F32([2, 3, 4]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5])),
            new Misuse(new ChunkState(4, false), "dt must be", F32([2, 3, 4, 5]), F32([2, 3, 5]), F32([4]), F32([2, 3, 1, 5])),
            new Misuse(new ChunkState(4, false), "A must be", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([5]), F32([2, 3, 1, 5])),
            new Misuse(new ChunkState(4, false), "the groups divide the heads", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 3, 5])),
            new Misuse(new ChunkState(4, false), "the groups divide the heads", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 0, 5])),
            new Misuse(new ChunkState(4, true), "the sequence of I32", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5]), F32([2, 3])),
            new Misuse(new ChunkState(4, true), "the sequence must be", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5]), I32([2, 4])),
            new Misuse(new ChunkState(0, false), "at least one position", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5])))
            with { Benchmark = draw => new Case(new ChunkState(64, false), LargeScan.X(draw), LargeScan.Dt(draw), LargeScan.A(draw), LargeScan.B(draw)) },

        Row<ChunkStateGradient>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                return new Case(
                    new ChunkStateGradient(e.Q, e.HasSequence), [e.X(draw), e.Dt(draw), e.A(draw), e.B(draw), .. e.Sequence(draw), draw.Normal(e.States)]);
            },
            new Misuse(
                new ChunkStateGradient(4, false), "the last input must be the gradient", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5]), F32([2, 2, 4, 5, 5])))
            with
            {
                IsDifferentiable = false,
                Benchmark = draw => new Case(new ChunkStateGradient(64, false), LargeScan.X(draw), LargeScan.Dt(draw), LargeScan.A(draw), LargeScan.B(draw), draw.Normal(LargeScan.States)),
            },

        Row<ChunkRetention>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                return new Case(new ChunkRetention(e.Q, e.HasSequence), [e.Dt(draw), e.A(draw), .. e.Sequence(draw)]);
            },
            new Misuse(new ChunkRetention(4, false), "dt must be", F32([2, 3]), F32([3])),
            new Misuse(new ChunkRetention(4, false), "A must be", F32([2, 3, 4]), F32([3])),
            new Misuse(new ChunkRetention(4, false), "floating-point", F32([2, 3, 4]), I32([4])),
            new Misuse(new ChunkRetention(4, true), "the sequence must be", F32([2, 3, 4]), F32([4]), F32([2, 3])),
            new Misuse(new ChunkRetention(0, false), "at least one position", F32([2, 3, 4]), F32([4]))),

        Row<StatePassing>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                bool hasInitial = draw.Choice(2) == 1;
                Input added = draw.Normal(e.States), retention = draw.Uniform(e.Chunks, 0, 1);
                return new Case(new StatePassing(hasInitial), hasInitial ? [added, retention, draw.Normal(e.State)] : [added, retention]);
            },
            new Misuse(new StatePassing(false), "what chunks add must be", F32([2, 3, 4, 5]), F32([2, 3, 4])),
            new Misuse(new StatePassing(false), "the retention must be", F32([2, 3, 4, 5, 6]), F32([2, 4, 4])),
            new Misuse(new StatePassing(true), "the initial state must be", F32([2, 3, 4, 5, 6]), F32([2, 3, 4]), F32([2, 4, 6, 5])),
            new Misuse(new StatePassing(false), "floating-point", F32([2, 3, 4, 5, 6]), I32([2, 3, 4]))),

        Row<StatePassingGradient>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                return new Case(
                    new StatePassingGradient(draw.Choice(2) == 1), draw.Uniform(e.Chunks, 0, 1), draw.Normal(e.States), draw.Normal(e.States), draw.Normal(e.State));
            },
            new Misuse(new StatePassingGradient(false), "the states must be", F32([2, 3, 4]), F32([2, 3, 4, 5]), F32([2, 3, 4, 5]), F32([2, 3, 4])),
            new Misuse(new StatePassingGradient(false), "the retention must be", F32([2, 3, 5]), F32([2, 3, 4, 5, 6]), F32([2, 3, 4, 5, 6]), F32([2, 4, 5, 6])),
            new Misuse(new StatePassingGradient(false), "the last two inputs", F32([2, 3, 4]), F32([2, 3, 4, 5, 6]), F32([2, 3, 4, 5, 6]), F32([2, 3, 5, 6])))
            with { IsDifferentiable = false },

        Row<ChunkScan>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                Input[] skip = e.Skip(draw);
                return new Case(
                    new ChunkScan(e.Q, skip.Length > 0, e.HasSequence),
                    [e.X(draw), e.Dt(draw), e.A(draw), e.B(draw), e.B(draw), draw.Normal(e.States), .. skip, .. e.Sequence(draw)]);
            },
            new Misuse(
                new ChunkScan(4, false, false), "C must have", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5]), F32([2, 3, 2, 5]), F32([2, 1, 4, 5, 5])),
            new Misuse(
                new ChunkScan(4, false, false), "the states must be", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5]), F32([2, 3, 1, 5]), F32([2, 4, 5, 5])),
            new Misuse(
                new ChunkScan(4, true, false), "D must be", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 6]), F32([2, 3, 1, 6]), F32([2, 1, 4, 5, 6]), F32([5])))
            with
            {
                Benchmark = draw => new Case(
                    new ChunkScan(64, false, false), LargeScan.X(draw), LargeScan.Dt(draw), LargeScan.A(draw), LargeScan.B(draw), LargeScan.B(draw), draw.Normal(LargeScan.States)),
            },

        Row<ChunkScanGradient>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                Input[] skip = e.Skip(draw);
                return new Case(
                    new ChunkScanGradient(e.Q, skip.Length > 0, e.HasSequence),
                    [e.X(draw), e.Dt(draw), e.A(draw), e.B(draw), e.B(draw), draw.Normal(e.States), .. skip, .. e.Sequence(draw), e.X(draw)]);
            },
            new Misuse(
                new ChunkScanGradient(4, false, false), "the last input must be the gradient",
                F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5]), F32([2, 3, 1, 5]), F32([2, 1, 4, 5, 5]), F32([2, 3, 4])))
            with
            {
                IsDifferentiable = false,
                Benchmark = draw => new Case(
                    new ChunkScanGradient(64, false, false),
                    LargeScan.X(draw), LargeScan.Dt(draw), LargeScan.A(draw), LargeScan.B(draw), LargeScan.B(draw), draw.Normal(LargeScan.States), LargeScan.X(draw)),
            },

        Row<StateSpaceScan>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                Input[] skip = e.Skip(draw), initial = e.Initial(draw);
                return new Case(
                    new StateSpaceScan(e.Q, skip.Length > 0, initial.Length > 0, e.HasSequence, Keeps: draw.Choice(2) == 1),
                    [e.X(draw), e.Dt(draw), e.A(draw), e.B(draw), e.B(draw), .. skip, .. initial, .. e.Sequence(draw)]);
            },
            new Misuse(
                new StateSpaceScan(4, false, false, false, true), "C must have", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5]), F32([2, 3, 2, 5])),
            new Misuse(
                new StateSpaceScan(4, true, false, false, true), "D must be", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 6]), F32([2, 3, 1, 6]), F32([5])),
            new Misuse(
                new StateSpaceScan(4, false, true, false, true), "the initial state must be", F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 6]), F32([2, 3, 1, 6]), F32([2, 4, 6, 5])))
            with
            {
                Benchmark = draw => new Case(
                    new StateSpaceScan(64, false, false, false, false), LargeScan.X(draw), LargeScan.Dt(draw), LargeScan.A(draw), LargeScan.B(draw), LargeScan.B(draw)),
            },

        Row<StateSpaceScanGradient>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                Input[] skip = e.Skip(draw), initial = e.Initial(draw);
                return new Case(
                    new StateSpaceScanGradient(e.Q, skip.Length > 0, initial.Length > 0, e.HasSequence),
                    [
                        e.X(draw), e.Dt(draw), e.A(draw), e.B(draw), e.B(draw), .. skip, .. initial, .. e.Sequence(draw),
                        draw.Normal(e.States), e.X(draw), draw.Choice(2) == 1 ? draw.Normal(e.State) : draw.Normal(e.State, 0),
                    ]);
            },
            new Misuse(
                new StateSpaceScanGradient(4, false, false, false), "the last three inputs must be",
                F32([2, 3, 4, 5]), F32([2, 3, 4]), F32([4]), F32([2, 3, 1, 5]), F32([2, 3, 1, 5]), F32([2, 1, 4, 5, 5]), F32([2, 3, 4]), F32([2, 4, 5, 5])))
            with { IsDifferentiable = false },

        Row<StateSpaceStep>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                Input[] skip = e.Skip(draw);
                Shape x = [e.Batch, e.H, e.P], b = [e.Batch, e.G, e.N];
                return new Case(
                    new StateSpaceStep(skip.Length > 0),
                    [draw.Normal(x), draw.Uniform([e.Batch, e.H], 0.001, 1), e.A(draw), draw.Normal(b), draw.Normal(b), draw.Normal(e.State), .. skip]);
            },
            new Misuse(new StateSpaceStep(false), "x must be", F32([2, 3]), F32([2, 3]), F32([3]), F32([2, 1, 5]), F32([2, 1, 5]), F32([2, 3, 4, 5])),
            new Misuse(new StateSpaceStep(false), "dt must be", F32([2, 3, 4]), F32([2, 4]), F32([3]), F32([2, 1, 5]), F32([2, 1, 5]), F32([2, 3, 4, 5])),
            new Misuse(new StateSpaceStep(false), "A must be", F32([2, 3, 4]), F32([2, 3]), F32([4]), F32([2, 1, 5]), F32([2, 1, 5]), F32([2, 3, 4, 5])),
            new Misuse(new StateSpaceStep(false), "the groups divide", F32([2, 3, 4]), F32([2, 3]), F32([3]), F32([2, 2, 5]), F32([2, 2, 5]), F32([2, 3, 4, 5])),
            new Misuse(new StateSpaceStep(false), "C must have", F32([2, 3, 4]), F32([2, 3]), F32([3]), F32([2, 1, 5]), F32([2, 3, 5]), F32([2, 3, 4, 5])),
            new Misuse(new StateSpaceStep(false), "the state must be", F32([2, 3, 4]), F32([2, 3]), F32([3]), F32([2, 1, 5]), F32([2, 1, 5]), F32([2, 3, 5, 4])),
            new Misuse(new StateSpaceStep(true), "D must be", F32([2, 3, 4]), F32([2, 3]), F32([3]), F32([2, 1, 5]), F32([2, 1, 5]), F32([2, 3, 4, 5]), F32([4])))
            with
            {
                Benchmark = draw => new Case(
                    new StateSpaceStep(false), draw.Normal([8, 24, 64]), draw.Uniform([8, 24], 0.001, 0.1), LargeScan.A(draw),
                    draw.Normal([8, 1, 128]), draw.Normal([8, 1, 128]), draw.Normal([8, 24, 64, 128])),
            },

        Row<MixerStep>(
            draw =>
            {
                ScanExtents e = ScanExtents.Of(draw);
                int taps = draw.OneOf(4, 1, 2, 3), inner = e.H * e.P, channels = inner + 2 * e.G * e.N;
                bool hasBias = draw.Choice(2) == 0, isLimited = draw.Choice(2) == 1, isGated = draw.Choice(2) == 1;
                return new Case(
                    new MixerStep(e.G, isLimited ? 0.3 : 0, isLimited ? 0.9 : double.PositiveInfinity, hasBias, isGated),
                    [
                        draw.Normal([e.Batch, inner + channels + e.H]), draw.Normal([e.Batch, taps - 1, channels]), draw.Normal(e.State), draw.Normal([channels, taps]),
                        .. hasBias ? [draw.Normal([channels])] : Array.Empty<Input>(),
                        draw.Normal([e.H]), draw.Uniform([e.H], -2, 1), draw.Normal(draw.Choice(2) == 0 ? [e.H] : [e.H, e.P]),
                    ]);
            },
            new Misuse(new MixerStep(1, 0, 1, false, false), "the recurrent state must be", F32([2, 37]), F32([2, 3, 22]), F32([2, 3, 4]), F32([22, 4]), F32([3]), F32([3]), F32([3])),
            new Misuse(new MixerStep(2, 0, 1, false, false), "must divide the heads", F32([2, 37]), F32([2, 3, 22]), F32([2, 3, 4, 5]), F32([22, 4]), F32([3]), F32([3]), F32([3])),
            new Misuse(new MixerStep(1, 2, 1, false, false), "must not exceed", F32([2, 37]), F32([2, 3, 22]), F32([2, 3, 4, 5]), F32([22, 4]), F32([3]), F32([3]), F32([3])),
            new Misuse(new MixerStep(1, 0, 1, false, false), "the projection must be", F32([2, 36]), F32([2, 3, 22]), F32([2, 3, 4, 5]), F32([22, 4]), F32([3]), F32([3]), F32([3])),
            new Misuse(new MixerStep(1, 0, 1, false, false), "at least one tap", F32([2, 37]), F32([2, 3, 22]), F32([2, 3, 4, 5]), F32([22, 0]), F32([3]), F32([3]), F32([3])),
            new Misuse(new MixerStep(1, 0, 1, false, false), "the convolution's state must", F32([2, 37]), F32([2, 4, 22]), F32([2, 3, 4, 5]), F32([22, 4]), F32([3]), F32([3]), F32([3])),
            new Misuse(new MixerStep(1, 0, 1, true, false), "the convolution's bias must", F32([2, 37]), F32([2, 3, 22]), F32([2, 3, 4, 5]), F32([22, 4]), F32([4]), F32([3]), F32([3]), F32([3])),
            new Misuse(new MixerStep(1, 0, 1, false, false), "dt_bias must be", F32([2, 37]), F32([2, 3, 22]), F32([2, 3, 4, 5]), F32([22, 4]), F32([4]), F32([3]), F32([3])),
            new Misuse(new MixerStep(1, 0, 1, false, false), "A_log must be", F32([2, 37]), F32([2, 3, 22]), F32([2, 3, 4, 5]), F32([22, 4]), F32([3]), F32([4]), F32([3])),
            new Misuse(new MixerStep(1, 0, 1, false, false), "D must be", F32([2, 37]), F32([2, 3, 22]), F32([2, 3, 4, 5]), F32([22, 4]), F32([3]), F32([3]), F32([4])))
            with
            {
                Benchmark = draw => new Case(
                    new MixerStep(1, 0, double.PositiveInfinity, true, true), draw.Normal([1, 3352]), draw.Normal([1, 3, 1792]), draw.Normal([1, 24, 64, 128]), draw.Normal([1792, 4]),
                    draw.Normal([1792]), draw.Normal([24]), draw.Uniform([24], 0, 3), draw.Normal([24])),
            },
    ];

    private static readonly ScanExtents LargeScan = new() { Batch = 1, L = 2048, H = 24, P = 64, G = 1, N = 128, Q = 64 };

    /// <summary>The extents of a scan, in the letters of its operations, and inputs for them.</summary>
    private sealed record ScanExtents
    {
        public required int Batch { get; init; }

        public required int L { get; init; }

        public required int H { get; init; }

        public required int P { get; init; }

        public required int G { get; init; }

        public required int N { get; init; }

        public required int Q { get; init; }

        public bool HasSequence { get; init; }

        public Shape Chunks => [Batch, (L + Q - 1) / Q, H];

        public Shape States => [Batch, (L + Q - 1) / Q, H, P, N];

        public Shape State => [Batch, H, P, N];

        public static ScanExtents Of(Draw draw)
        {
            int heads = draw.OneOf(1, 2, 4, 6);
            return new ScanExtents
            {
                Batch = draw.OneOf(1, 2),
                L = draw.OneOf(1, 2, 5, 17, 33, 70, 0),
                H = heads,
                P = draw.OneOf(1, 3, 8, 17, 32),
                G = draw.OneOf(1, 2, heads) is var groups && heads % groups == 0 ? groups : 1,
                N = draw.OneOf(1, 2, 8, 15, 33),
                Q = draw.OneOf(1, 4, 7, 16, 64),
                HasSequence = draw.Choice(2) == 1,
            };
        }

        public Input X(Draw draw) => draw.Normal([Batch, L, H, P]);

        public Input Dt(Draw draw) => draw.Values([Batch, L, H], random => Math.Exp(Math.Log(1e-3) + random.NextDouble() * Math.Log(1e3)));

        public Input A(Draw draw) => draw.Uniform([H], -4, -0.1);

        public Input B(Draw draw) => draw.Normal([Batch, L, G, N]);

        public Input[] Initial(Draw draw) => draw.Choice(2) == 1 ? [draw.Normal(State)] : [];

        public Input[] Sequence(Draw draw) => HasSequence ? [draw.Integers([Batch, L], 0, 2)] : [];

        public Input[] Skip(Draw draw) => draw.Choice(3) switch { 0 => [], 1 => [draw.Normal([H])], _ => [draw.Normal([H, P])] };
    }
}
