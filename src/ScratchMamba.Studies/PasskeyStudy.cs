using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>
/// How long a passkey can be kept: by models that are trained to, from scratch, on prompts like those that are asked (of other numbers, at other places), first short and then ever longer;
/// or by models that never saw one, and have learned from text and records of many other forms to keep what they are told.
/// Several sizes, so that the smallest that does it can be named; and streams of such prompts far longer than any document of the training.
/// </summary>
public sealed class PasskeyStudy : Study
{
    // What is asked on the way is asked of fewer prompts by this factor.
    private const int FewerSamples = 4, ChoiceShare = 10, TracedPrompts = 4, Samples = 32;
    private const int Shortest = 1024;

    /// <summary>A size: its models, one for each seed, after the last stage and the ones before.</summary>
    private sealed record Size(string Name, IReadOnlyList<TrainingPlan>[] Plans, ModelSource[] Models, MeasurementJob<PasskeyTable>[] Asked, MeasurementJob<PasskeyTable>[] Beyond, MeasurementJob<PasskeyTable>[] Way, MeasurementJob<LengthProfile>[] Streams, MeasurementJob<StateTrace> Trace)
    {
        public IReadOnlyList<TrainingPlan> First => Plans[0];

        /// <summary>The answers of each model to prompts up to the training length and beyond it.</summary>
        public PasskeyTable[] Answers(Store store) => [.. Asked.Select((job, i) => new PasskeyTable([.. job.Result(store).Answers, .. Beyond.Length > 0 ? Beyond[i].Result(store).Answers : []]))];
    }

    private readonly Size[] sizes;
    private readonly int[] lengths;
    private readonly int trained;
    private readonly bool isTrainedOn;
    private readonly IReadOnlyList<PasskeyStage> stages;

    /// <summary>The study. It always trains models of its own.</summary>
    /// <param name="options">The extent.</param>
    /// <param name="subject">The models of other studies.</param>
    /// <param name="isTrainedOn">Whether models learn from such prompts.</param>
    public PasskeyStudy(StudyOptions options, Subject subject, bool isTrainedOn) : base(options, subject)
    {
        this.isTrainedOn = isTrainedOn;
        stages = isTrainedOn ? options.PasskeyStages : options.UnseenStages;
        trained = Math.Max(Shortest, stages.Max(stage => stage.Longest));
        lengths = [.. Enumerable.Range(0, 21).Select(i => Shortest << i).Where(length => length <= Math.Min(options.PasskeyLongest, 4L * trained))];
        sizes = [.. (isTrainedOn ? options.PasskeyModels : options.UnseenModels).Select(Make)];

        Size Make((int Width, int Layers, int StateSize) size)
        {
            IReadOnlyList<TrainingPlan>[] plans = [.. Enumerable.Range(0, isTrainedOn ? options.PasskeySeeds : options.UnseenSeeds).Select(seed => options.PasskeyPlans(size, options.FirstSeed + (ulong)seed, isTrainedOn))];
            ModelSource[] models = [.. plans.Select(each => Chosen(new TrainingJob(each[^1])))];
            var data = new PasskeyDocuments(trained, options.Tokenizer);
            return new Size(
                $"{size.Layers} × {size.Width}, N = {size.StateSize}", plans, models,
                [.. models.Select(model => Asking(model, lengths.Where(length => length <= trained), options.PasskeySamples, "passkey at all depths"))],
                lengths[^1] <= trained ? [] : [.. models.Select(model => Asking(model, lengths.Where(length => length > trained), options.PasskeySamples, "passkey beyond the training length"))],
                [.. plans[0].Take(plans[0].Count - 1).Select((plan, i) => Asking(
                    new ModelSource(new TrainingJob(plan)), lengths.Where(length => length <= Math.Max(2 * Shortest, 4 * stages[i].Longest) && length <= trained),
                    Math.Max(1, options.PasskeySamples / FewerSamples), "passkey on the way"))],
                [.. models.Select(model => Profile(model, data, Cure.None, "stream of passkeys", Math.Max(options.StreamLength, 2L * trained), Math.Max(8, options.StreamPrompts), trained))],
                Trace(models[0], data));
        }
    }

    /// <inheritdoc/>
    public override string Name => isTrainedOn ? "passkey" : "passkey-unseen";

    /// <summary>What tells the titles of this study's figures from those of the other.</summary>
    private string Label => isTrainedOn ? "" : ", never trained on";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => sizes.SelectMany(size => (Job[])[.. size.Asked, .. size.Beyond, .. size.Way, .. size.Streams, size.Trace]);

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        var findings = new List<Finding>();
        List<Figure> figures = [ByLength(store, command, findings)];
        foreach (Size size in sizes)
            figures.Add(PasskeyFigures.Map($"{Name}-map-{Slug(size)}", $"Recall by length and depth: {size.Name}{Label}", size.Answers(store), lengths, trained, OriginOf(size, store, command)));
        figures.Add(ByDistance(store, command));
        figures.Add(OnTheWay(store, command));
        if (sizes.Any(size => size.Models.Any(model => model.Candidates.Count > 0)))
            figures.Add(Choice(store, command));
        figures.Add(Streams(store, command, findings));
        if (Memory($"{Name}-memory", $"Memory over the stream{Label}", [.. sizes.Select(size => (size.Name, size.Streams[0].Result(store)))], OriginOf(sizes[0], store, command)) is { } memory)
            figures.Add(memory);
        figures.Add(Retention(store, command));
        return isTrainedOn ? new StudyResult(
            Name, "A passkey, trained on",
            $"Models learn from scratch what is asked: prompts of the paper's form with random numbers at random depths, first with nothing in between and then with up to {trained:#,0} tokens. Only the answers are learned. "
            + "The paper's models never saw such prompts in training; these have, and what is shown is how much and how long a state of this size can be taught to keep.",
            findings, figures)
            : new StudyResult(
                Name, "A passkey, never trained on",
                $"Models learn from scratch to predict text in which names are given values and asked for later, in sentences put together of many parts and with up to {trained:#,0} tokens in between; first every byte, then what was told before. "
                + "No line of the paper's prompt is in it, nor the word passkey: what is asked here they have never seen.",
                findings, figures);
    }

    private Figure ByLength(Store store, string command, List<Finding> findings)
    {
        var table = new Table(Name, "size", "parameters", "state", "length", "accuracy", "low", "high", "n", "training_tokens", "training_seconds", "tokens_per_second", "peak_bytes");
        var series = new List<Series>();
        string? smallest = null;
        string alone = "";
        foreach (Size size in sizes.OrderBy(size => size.First[0].Config.ParameterCount))
        {
            PasskeyTable[] answers = size.Answers(store);
            TrainingPlan[] all = [.. size.Plans.SelectMany(plans => plans)];
            double seconds = all.Sum(store.Seconds), tokens = all.Sum(plan => (double)plan.Tokens);
            foreach (int length in lengths)
            {
                Interval share = PasskeyFigures.Accuracy(answers, answer => answer.Count(length));
                table.Add(
                    size.Name, size.First[0].Config.ParameterCount, size.First[0].Config.StateCount, length, share.Estimate, share.Low, share.High, share.Count, tokens / size.Plans.Length, seconds / size.Plans.Length, tokens / seconds,
                    all.Max(store.PeakBytes));
            }
            series.Add(new Series(size.Name, [.. lengths.Select(length => Point(length, PasskeyFigures.Accuracy(answers, answer => answer.Count(length))))]));
            foreach (int length in new[] { trained, lengths[^1] }.Distinct().Where(lengths.Contains))
            {
                Finding finding = Finding.Above(
                    length == trained ? "M4" : "–", $"{size.First[0].Config.ParameterCount:#,0} parameters ({size.Name}){(isTrainedOn ? "" : ", never trained on such prompts,")} recall a passkey at {length:#,0} tokens, {(length == trained ? "as long as the longest of training" : $"{length / trained} times the longest of training")}.",
                    "accuracy at all depths", PasskeyFigures.Accuracy(answers, answer => answer.Count(length)), PasskeyFigures.Recalled, PasskeyFigures.Each(answers, answer => answer.Count(length)));
                findings.Add(finding);
                if (length == trained && finding.Verdict == Verdict.Holds)
                    smallest ??= size.Name;
                if (length == trained && answers.Length > 1)
                    alone += $" Of {answers.Length} models of {size.Name} {PasskeyFigures.Each(answers, answer => answer.Count(length)).Count(each => each.Low > PasskeyFigures.Recalled)} do, each for itself.";
            }
        }
        return new Figure(
            $"Recall by length{Label}",
            (smallest is null ? $"None of these sizes recalls {PasskeyFigures.Recalled:0 %} at {trained:#,0} tokens for certain." : $"The smallest that recalls {PasskeyFigures.Recalled:0 %} at {trained:#,0} tokens is {smallest}.") + alone,
            new XyChart
            {
                Description = "Passkey accuracy by length and size", X = new Axis("length of the prompt, tokens", Scale.Log2), Y = new Axis("accuracy", Min: 0, Max: 1), Series = series, IsOrdered = true,
                VerticalGuides = [new Guide(trained, "longest of training")], HorizontalGuides = [new Guide(PasskeyFigures.Recalled, "95 %")],
            },
            table, OriginOf(sizes[0], store, command) with { Model = string.Join("; ", sizes.Select(size => size.Name)), Seconds = sizes.Sum(size => OriginOf(size, store, command).Seconds) });
    }

    private Figure ByDistance(Store store, string command)
    {
        var table = new Table($"{Name}-distance", "size", "within", "length", "accuracy", "low", "high", "n");
        var series = new List<Series>();
        foreach (Size size in sizes)
        {
            PasskeyTable[] answers = size.Answers(store);
            foreach (int distance in lengths)
            {
                foreach (int length in lengths.Where(length => length >= distance))
                {
                    Interval share = PasskeyFigures.Accuracy(answers, answer => answer.Within(length, distance));
                    if (share.Count > 0)
                        table.Add(size.Name, distance, length, share.Estimate, share.Low, share.High, share.Count);
                }
            }
            // All lengths together: how far back the passkey stood, each bin a doubling.
            series.Add(new Series(size.Name, [.. lengths.Select(distance => Point(distance, PasskeyFigures.Accuracy(answers, answer => answer.Between(distance / 2, distance))))]));
        }
        return new Figure(
            $"Recall by absolute distance{Label}", "How far before the end of its prompt the passkey stood, whatever the prompt's length: from half of what the axis says to that.",
            new XyChart
            {
                Description = "Passkey accuracy by distance", X = new Axis("distance, tokens", Scale.Log2), Y = new Axis("accuracy", Min: 0, Max: 1), Series = series, IsOrdered = true,
                VerticalGuides = [new Guide(trained, "longest of training")],
            },
            table, OriginOf(sizes[0], store, command));
    }

    private Figure OnTheWay(Store store, string command)
    {
        var table = new Table($"{Name}-stages", "size", "stage", "longest", "row", "rows", "segments", "steps", "tokens", "seconds", "tokens_per_second", "peak_bytes", "length", "accuracy", "low", "high", "n");
        Size shown = Shown(store);
        var series = new List<Series>();
        foreach (Size size in sizes)
        {
            for (int stage = 0; stage < size.First.Count; stage++)
            {
                (TrainingPlan plan, PasskeyStage options) = (size.First[stage], stages[stage]);
                PasskeyTable answers = stage < size.Way.Length ? size.Way[stage].Result(store) : size.Asked[0].Result(store);
                var points = new List<Datum>();
                foreach (int length in answers.Answers.Select(answer => answer.Length).Distinct())
                {
                    Interval share = PasskeyFigures.Accuracy([answers], answer => answer.Count(length));
                    points.Add(Point(length, share));
                    table.Add(
                        size.Name, stage, options.Longest, options.Length, options.Rows, options.Segments, options.Steps, plan.Tokens, store.Seconds(plan), plan.Tokens / store.Seconds(plan), store.PeakBytes(plan),
                        length, share.Estimate, share.Low, share.High, share.Count);
                }
                if (size == shown)
                    series.Add(new Series(options.Longest == 0 ? "hidden in nothing" : $"up to {Axis.Length(options.Longest)}{(options.Segments > 1 ? ", states carried" : options.Passes ? ", states passed" : "")}{(options.LearnsAll ? ", every byte" : "")}", points));
            }
        }
        return new Figure(
            $"On the way: {shown.Name}, seed {Options.FirstSeed}{Label}", "Each stage of the training makes prompts longer; so far does recall then reach.",
            new XyChart
            {
                Description = "Passkey accuracy after each stage", X = new Axis("length of the prompt, tokens", Scale.Log2), Y = new Axis("accuracy", Min: 0, Max: 1), Series = series, IsOrdered = true,
                HorizontalGuides = [new Guide(PasskeyFigures.Recalled, "95 %")],
            },
            table, OriginOf(shown, store, command));
    }

    private Figure Choice(Store store, string command)
    {
        var table = new Table($"{Name}-choice", "size", "seed", "step", "right", "n", "accuracy", "low", "high", "chosen", "sha256");
        var series = new List<Series>();
        foreach (Size size in sizes)
        {
            for (int i = 0; i < size.Models.Length; i++)
            {
                ModelSource model = size.Models[i], chosen = model.Chosen(store);
                var points = new List<Datum>();
                foreach ((ModelSource candidate, MeasurementJob<PasskeyTable> asked) in model.Candidates)
                {
                    PasskeyAnswer[] answers = asked.Result(store).Answers;
                    Interval share = Interval.Share(answers.Count(answer => answer.Right), answers.Length);
                    int step = candidate.Step ?? candidate.Job!.Plan.Steps;
                    points.Add(Point(step, share));
                    table.Add(size.Name, (long)Options.FirstSeed + i, step, answers.Count(answer => answer.Right), answers.Length, share.Estimate, share.Low, share.High, candidate == chosen, candidate == chosen ? Store.HashOf(candidate.Folder(store)) : "");
                }
                series.Add(new Series(size.Models.Length > 1 ? $"{size.Name}, seed {(long)Options.FirstSeed + i}" : size.Name, points));
            }
        }
        return new Figure(
            $"The choice among checkpoints{Label}",
            "The share of prompts in four other wordings, of numbers and fillings of their own and never trained on either, that is answered rightly at several steps of the last stage. The best step is what everything else here is measured of; what is asked in the end has no part in the choice.",
            new XyChart
            {
                Description = "Accuracy on prompts to choose by", X = new Axis("step of the last stage"), Y = new Axis("accuracy", Min: 0, Max: 1), Series = series, IsOrdered = true,
                HorizontalGuides = [new Guide(PasskeyFigures.Recalled, "95 %")],
            },
            table, OriginOf(sizes[0], store, command));
    }

    private Figure Streams(Store store, string command, List<Finding> findings)
    {
        var table = new Table($"{Name}-stream", "size", "position", "loss", "low", "high", "n");
        var series = new List<Series>();
        long peak = 0;
        foreach (Size size in sizes)
        {
            LengthProfile[] found = [.. size.Streams.Select(job => job.Result(store))];
            peak = Math.Max(peak, found.Max(profile => profile.PeakBytes));
            Tabulate(table, size.Name, found, tally => tally.MeanLoss);
            series.Add(new Series(size.Name, Curve(found, tally => tally.MeanLoss)));
            Interval[] ratios = EachRuleRatio(found);
            double Largest(IEnumerable<int> buckets) => found.Max(profile => buckets.Max(bucket => LengthProfile.Pool(profile.All, bucket).MeanLoss));
            findings.Add(Finding.Below(
                "E13", $"{found[0].Ends[^1]:#,0} tokens of prompts, one after another, do not make it collapse ({size.Name}).",
                $"largest loss on answers outside the training length ({Largest(found[0].Outside):0.0e+0} nats) over largest inside ({Largest(found[0].Inside):0.0e+0}; guessing costs {Math.Log(10):0.0})",
                RuleRatio(ratios), LengthRule.Bound, ratios));
        }
        long length = sizes[0].Streams[0].Result(store).Ends[^1];
        return new Figure(
            $"A stream of {length:#,0} tokens{Label}", $"{sizes[0].Streams[0].Result(store).All.Length} streams of prompts, read in {peak / 1e6:#,0} MB of tensors, whatever their length; the loss on answers, up to {trained:#,0} tokens after what they ask for.",
            new XyChart
            {
                Description = "Loss on answers over a long stream", X = Positions, Y = new Axis("loss on answers, nats", Min: 0), Series = series, IsOrdered = true,
                VerticalGuides = [new Guide(trained, "longest of training")],
            },
            table, OriginOf(sizes[0], store, command));
    }

    private Figure Retention(Store store, string command)
    {
        const int MostHeads = 8;
        var table = new Table($"{Name}-retention", "size", "layer", "head", "position", "retention", "variance", "mean_decay");
        foreach (Size size in sizes)
        {
            StateTrace trace = size.Trace.Result(store);
            foreach (HeadTrace head in trace.Heads)
            {
                for (int i = 0; i < trace.Positions.Length; i++)
                    table.Add(size.Name, head.Layer, head.Head, trace.Positions[i], Math.Exp(head.LogRetention[i]), head.Variance[i], head.MeanDecay);
            }
        }
        Size chosen = Shown(store);
        StateTrace shown = chosen.Trace.Result(store);
        HeadTrace[] heads = [.. shown.Heads.OrderByDescending(head => head.MeanDecay).Take(MostHeads).OrderBy(head => head.Layer).ThenBy(head => head.Head)];
        return new Figure(
            $"The states of the heads over a stream: {chosen.Name}{Label}", $"The head that retains most loses {1 - shown.Heads.Max(head => head.MeanDecay):0.0e+0} of its state with a token, on average.",
            new XyChart
            {
                Description = "Variance of the heads' states", X = new Axis("position, tokens", Scale.Log2), Y = new Axis("variance of the state's entries", Scale.Log10),
                Series = [.. heads.Select(head => new Series($"layer {head.Layer}, head {head.Head}", [.. head.Variance.Select((value, i) => new Datum(shown.Positions[i], value))]))],
                VerticalGuides = [new Guide(trained, "longest of training")],
            },
            table, OriginOf(chosen, store, command));
    }

    /// <summary>The size that single models are shown of: the smallest that recalls, or the largest.</summary>
    private Size Shown(Store store) => sizes.OrderBy(size => size.First[0].Config.ParameterCount).FirstOrDefault(size => Recalls(size.Answers(store)).Estimate > PasskeyFigures.Recalled) ?? sizes[^1];

    private Interval Recalls(PasskeyTable[] answers) => PasskeyFigures.Accuracy(answers, answer => answer.Count(lengths.Last(length => length <= trained)));

    /// <summary>The model of a training; of one of which several are kept, the one that answers most of the prompts in other words, as long as what is asked in the end up to the length of training.</summary>
    private ModelSource Chosen(TrainingJob training)
    {
        var last = new ModelSource(training);
        return training.Plan.Checkpoints.Count == 0 ? last : last with
        {
            Candidates =
            [
                .. training.Plan.Checkpoints.Select(step => last with { Step = step }).Append(last).Select(model => (model, Ask(
                    model, [.. lengths.Where(length => length <= trained).SelectMany(length => PasskeyTable.Even(length, Math.Max(4, Options.PasskeySamples / ChoiceShare)))], Cure.None, "to choose by", TextPasskey.InOtherWords(Options.Tokenizer)))),
            ],
        };
    }

    private MeasurementJob<PasskeyTable> Asking(ModelSource model, IEnumerable<int> asked, int samples, string what) =>
        Ask(model, [.. asked.SelectMany(length => PasskeyTable.Even(length, samples))], Cure.None, what, new TextPasskey(Options.Tokenizer));

    private MeasurementJob<StateTrace> Trace(ModelSource model, PasskeyDocuments data)
    {
        const ulong Seed = 3_000_029;
        int length = 2 * trained, stride = Math.Max(1, length / Samples);
        return new MeasurementJob<StateTrace>(
            model, $"states: {data.Name}, {TracedPrompts} prompts of {length}, every {stride}, seed {Seed}", "states of every head", 0.6 * TracedPrompts * length, Results.Default.StateTrace,
            (loaded, context) => StateTrace.Measure(loaded, data, trained, length, stride, TracedPrompts, Seed, context));
    }

    private Origin OriginOf(Size size, Store store, string command) => new(
        command, $"Mamba-2, {size.First[0].Config.ParameterCount:#,0} parameters, {size.Name}, {size.First.Sum(plan => plan.Tokens) / 1e6:0.0} M tokens", size.First[^1].Data.Name,
        size.Plans.Length == 1 ? $"seed {Options.FirstSeed}" : $"{size.Plans.Length} seeds",
        size.Plans.Sum(plans => plans.Sum(store.Seconds)) + size.Asked.Concat(size.Beyond).Concat(size.Way).Sum(job => job.Seconds(store)) + size.Streams.Sum(job => job.Seconds(store)) + size.Trace.Seconds(store)
        + size.Models.SelectMany(model => model.Candidates).Sum(candidate => candidate.Asked.Seconds(store)));

    private static string Slug(Size size) => $"{size.First[0].Config.Layers}x{size.First[0].Config.Width}-N{size.First[0].Config.StateSize}";
}
