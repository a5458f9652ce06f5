using System.Diagnostics;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Server;

/// <summary>
/// Writes texts for many at a time on one thread, which alone touches the model. Between two steps texts come and go; a new prompt is read a piece at a time between the steps of the others.
/// A text does not depend on what else is being written, to the last bit: prompts are read alone, and <see cref="SessionBatch"/> keeps rows apart.
/// </summary>
internal sealed class Engine : IDisposable
{
    private readonly Mamba2Model model;
    private readonly Tokenizer tokenizer;
    private readonly ServerOptions options;
    private readonly Metrics metrics;
    private readonly Thread thread;
    private readonly object gate = new();
    private readonly LinkedList<TextRequest> waiting = new();
    private readonly List<SessionBatch> batches = [];
    private readonly Dictionary<Session, RunningText> running = [];
    private (TextRequest Request, Session Session, int Position, long Since)? starting;
    private bool isClosed, isAborted;

    public Engine(Mamba2Model model, Tokenizer tokenizer, ServerOptions options, Metrics metrics)
    {
        (this.model, this.tokenizer, this.options, this.metrics) = (model, tokenizer, options, metrics);
        thread = new Thread(Run) { Name = "engine", IsBackground = true };
        thread.Start();
    }

    /// <summary>Whether the engine takes requests.</summary>
    public bool IsOpen
    {
        get
        {
            lock (gate)
                return !isClosed;
        }
    }

    /// <summary>Puts requests into the queue; false if it has no room for all of them, or takes none any more.</summary>
    public bool TrySubmit(IReadOnlyList<TextRequest> requests)
    {
        lock (gate)
        {
            RemoveCancelled();
            if (isClosed || waiting.Count + requests.Count > options.Queue)
                return false;
            foreach (TextRequest request in requests)
                waiting.AddLast(request);
            Monitor.Pulse(gate);
            return true;
        }
    }

    /// <summary>Takes no more requests, lets those that it has end within some time, and gives up those that have not.</summary>
    public void Close(TimeSpan grace)
    {
        lock (gate)
        {
            isClosed = true;
            Monitor.Pulse(gate);
        }
        if (!thread.Join(grace))
        {
            lock (gate)
                isAborted = true;
            thread.Join();
        }
    }

    public void Dispose() => Close(TimeSpan.Zero);

    private void Run()
    {
        string end = "The server is stopping.";
        try
        {
            while (WaitForWork())
            {
                Start();
                Step();
                RemoveDone();
            }
        }
        catch (Exception fault)
        {
            // Those who wait are told, and /health says that no more is taken on.
            end = fault.Message;
        }
        lock (gate)
            isClosed = true;
        FailAll(end);
        foreach (SessionBatch batch in batches)
            batch.Dispose();
    }

    /// <summary>Whether there is anything left to do; waits until there is.</summary>
    private bool WaitForWork()
    {
        lock (gate)
        {
            while (true)
            {
                RemoveCancelled();
                metrics.Waiting = waiting.Count;
                if (isAborted)
                    return false;
                if (starting is not null || running.Count > 0 || waiting.Count > 0)
                    break;
                if (isClosed)
                    return false;
                Monitor.Wait(gate);
            }
            if (starting is null && waiting.First?.Value is { } first && running.Count + first.Choices <= options.Slots)
            {
                waiting.RemoveFirst();
                starting = (first, new Session(model), 0, Stopwatch.GetTimestamp());
            }
            return true;
        }
    }

    private void RemoveCancelled()
    {
        for (LinkedListNode<TextRequest>? node = waiting.First; node is not null;)
        {
            LinkedListNode<TextRequest>? next = node.Next;
            if (node.Value.Cancellation.IsCancellationRequested)
                waiting.Remove(node);
            node = next;
        }
    }

    /// <summary>Reads one piece of the prompt that is being read, and begins its texts after the last one.</summary>
    private void Start()
    {
        if (starting is not { } current)
            return;
        (TextRequest request, Session session, int position, long since) = current;
        if (request.Cancellation.IsCancellationRequested)
        {
            starting = null;
            session.Dispose();
            metrics.Cancelled.Add(request.Choices);
            return;
        }
        var texts = new List<RunningText>();
        try
        {
            int count = Math.Min(Session.Piece, request.Prompt.Length - position);
            session.Read(request.Prompt.AsSpan(position, count));
            starting = (request, session, position + count, since);
            metrics.PromptTokens.Add(count);
            if (position + count < request.Prompt.Length)
                return;
            starting = null;
            using var scope = new Scope();
            double[] logits = session.Logits().ToDoubles();
            for (int choice = 0; choice < request.Choices; choice++)
                texts.Add(new RunningText(request, choice, choice + 1 < request.Choices ? session.Fork() : session, tokenizer));
            foreach (RunningText text in texts)
            {
                text.Continue(logits);
                metrics.WrittenTokens.Add(1);
            }
            metrics.FirstToken.Observe(Stopwatch.GetElapsedTime(since).TotalSeconds);
        }
        catch (Exception fault)
        {
            starting = null;
            if (texts.Count == 0)
                texts.Add(new RunningText(request, 0, session, tokenizer));
            foreach (RunningText text in texts)
                text.Fail(fault.Message);
        }
        foreach (RunningText text in texts)
        {
            if (text.IsDone)
            {
                text.Session.Dispose();
                continue;
            }
            running.Add(text.Session, text);
            SessionBatch? free = batches.Find(batch => batch.Sessions.Count < batch.Capacity);
            if (free is null)
                batches.Add(free = new SessionBatch(model));
            free.Add(text.Session);
        }
        metrics.Running = running.Count;
    }

    /// <summary>One token for every text.</summary>
    private void Step()
    {
        foreach (SessionBatch batch in batches.Where(batch => batch.Sessions.Count > 0).ToArray())
        {
            RunningText[] texts = [.. batch.Sessions.Select(session => running[session])];
            long since = Stopwatch.GetTimestamp();
            try
            {
                double[][] logits = batch.Step();
                for (int row = 0; row < texts.Length; row++)
                    Continue(texts[row], logits[row]);
                metrics.WrittenTokens.Add(texts.Length);
                metrics.Step.Observe(Stopwatch.GetElapsedTime(since).TotalSeconds);
            }
            catch (Exception fault)
            {
                // What has become of the states is not known.
                batches.Remove(batch);
                batch.Dispose();
                foreach (RunningText text in texts)
                {
                    text.Fail(fault.Message);
                    running.Remove(text.Session);
                    text.Session.Dispose();
                }
            }
        }
    }

    /// <summary>Logits that are not numbers end one text only.</summary>
    private static void Continue(RunningText text, double[] logits)
    {
        try
        {
            text.Continue(logits);
        }
        catch (NumericalException fault)
        {
            text.Fail(fault.Message);
        }
    }

    private void RemoveDone()
    {
        foreach (SessionBatch batch in batches)
        {
            foreach (Session session in batch.Sessions.Where(session => running[session].IsDone || running[session].IsCancelled).ToArray())
            {
                if (!running[session].IsDone)
                    metrics.Cancelled.Add(1);
                batch.Remove(session);
                running.Remove(session);
                session.Dispose();
            }
        }
        metrics.Running = running.Count;
    }

    private void FailAll(string fault)
    {
        lock (gate)
        {
            foreach (TextRequest request in waiting)
                request.Output.TryWrite(new Piece(request.FirstIndex, "", null, null, null, fault));
            waiting.Clear();
        }
        if (starting is { } current)
        {
            current.Request.Output.TryWrite(new Piece(current.Request.FirstIndex, "", null, null, null, fault));
            current.Session.Dispose();
        }
        foreach (RunningText text in running.Values)
        {
            text.Fail(fault);
            text.Session.Dispose();
        }
        running.Clear();
        metrics.Running = 0;
    }
}
