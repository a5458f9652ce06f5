using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

namespace ScratchMamba.Server;

/// <summary>What a server has done, in the text form that Prometheus reads.</summary>
internal sealed class Metrics
{
    private readonly ConcurrentDictionary<(string Path, int Code), Counter> requests = [];

    public Counter PromptTokens { get; } = new();

    public Counter WrittenTokens { get; } = new();

    public Counter Cancelled { get; } = new();

    public Histogram FirstToken { get; } = new(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30);

    public Histogram Step { get; } = new(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3);

    /// <summary>Texts that are being written.</summary>
    public int Running { get; set; }

    /// <summary>Prompts in the queue.</summary>
    public int Waiting { get; set; }

    /// <summary>Counts an answer.</summary>
    /// <param name="path">One of a few known paths, for each is kept.</param>
    /// <param name="code">The status.</param>
    public void Answered(string path, int code) => requests.GetOrAdd((path, code), _ => new Counter()).Add(1);

    public override string ToString()
    {
        var text = new StringBuilder();
        Head("requests_total", "counter", "Answers by path and status.");
        foreach (((string path, int code), Counter count) in requests.OrderBy(pair => pair.Key))
            text.Append(CultureInfo.InvariantCulture, $"scratchmamba_requests_total{{path=\"{path}\",code=\"{code}\"}} {count.Value}\n");
        One("prompt_tokens_total", "counter", "Tokens of prompts that were read.", PromptTokens.Value);
        One("written_tokens_total", "counter", "Tokens that were written.", WrittenTokens.Value);
        One("cancelled_texts_total", "counter", "Texts that nobody waited for to the end.", Cancelled.Value);
        One("running_texts", "gauge", "Texts that are being written.", Running);
        One("waiting_prompts", "gauge", "Prompts in the queue.", Waiting);
        Steps("first_token_seconds", "From a prompt's turn to its first token.", FirstToken);
        Steps("step_seconds", "One token for up to eight texts.", Step);
        return text.ToString();

        void Head(string name, string kind, string meaning) => text.Append(CultureInfo.InvariantCulture, $"# HELP scratchmamba_{name} {meaning}\n# TYPE scratchmamba_{name} {kind}\n");

        void One(string name, string kind, string meaning, long value)
        {
            Head(name, kind, meaning);
            text.Append(CultureInfo.InvariantCulture, $"scratchmamba_{name} {value}\n");
        }

        void Steps(string name, string meaning, Histogram histogram)
        {
            Head(name, "histogram", meaning);
            (double[] bounds, long[] counts, double sum) = histogram.Snapshot();
            long total = 0;
            for (int i = 0; i < counts.Length; i++)
            {
                total += counts[i];
                string bound = i < bounds.Length ? bounds[i].ToString(CultureInfo.InvariantCulture) : "+Inf";
                text.Append(CultureInfo.InvariantCulture, $"scratchmamba_{name}_bucket{{le=\"{bound}\"}} {total}\n");
            }
            text.Append(CultureInfo.InvariantCulture, $"scratchmamba_{name}_sum {sum}\nscratchmamba_{name}_count {total}\n");
        }
    }

    /// <summary>A number that only grows.</summary>
    internal sealed class Counter
    {
        private long value;

        public long Value => Interlocked.Read(ref value);

        public void Add(long count) => Interlocked.Add(ref value, count);
    }

    /// <summary>How many observations there were up to each of some bounds.</summary>
    internal sealed class Histogram(params double[] bounds)
    {
        private readonly long[] counts = new long[bounds.Length + 1];
        private readonly Lock gate = new();
        private double sum;

        public void Observe(double value)
        {
            int bucket = Array.FindIndex(bounds, bound => value <= bound);
            lock (gate)
            {
                counts[bucket < 0 ? bounds.Length : bucket]++;
                sum += value;
            }
        }

        public (double[] Bounds, long[] Counts, double Sum) Snapshot()
        {
            lock (gate)
                return (bounds, [.. counts], sum);
        }
    }
}
