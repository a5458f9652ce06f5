using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Threading.Channels;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Server;

/// <summary>
/// Completes texts for clients of OpenAI's protocol: <c>/v1/models</c>, <c>/v1/completions</c> and <c>/v1/chat/completions</c>, whole or as server-sent events; <c>/health</c>;
/// <c>/metrics</c> for Prometheus; and a page at <c>/</c> to try it.
/// </summary>
public sealed class InferenceServer : IAsyncDisposable
{
    private static readonly string[] Known = ["/", "/health", "/metrics", "/v1/models", "/v1/completions", "/v1/chat/completions"];

    private readonly ServerOptions options;
    private readonly Tokenizer tokenizer;
    private readonly Metrics metrics = new();
    private readonly Engine engine;
    private readonly ChatPrompt chat;
    private readonly WebApplication application;
    private readonly string fingerprint;
    private readonly byte[]? key;
    private readonly byte[] page;
    private readonly int vocabularySize;
    private bool isDisposed;

    private InferenceServer(Mamba2Model model, Tokenizer tokenizer, ServerOptions options)
    {
        (this.tokenizer, this.options, vocabularySize) = (tokenizer, options, model.Config.VocabularySize);
        fingerprint = $"fp_{SessionFile.Fingerprint(model)[..10]}";
        key = options.ApiKey is null ? null : SHA256.HashData(Encoding.UTF8.GetBytes(options.ApiKey));
        chat = new ChatPrompt(options.Template);
        using (Stream stream = typeof(InferenceServer).Assembly.GetManifestResourceStream("page.html")!)
        {
            page = new byte[stream.Length];
            stream.ReadExactly(page);
        }
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        // The program says when to stop, not the console.
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Listen(options.Address, options.Port, listen => listen.Protocols = HttpProtocols.Http1);
            kestrel.Limits.MaxRequestBodySize = options.MostBodyBytes;
            kestrel.Limits.MaxConcurrentConnections = 4L * (options.Queue + options.Slots);
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
            kestrel.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(60);
        });
        application = builder.Build();
        application.Run(AnswerAsync);
        engine = new Engine(model, tokenizer, options, metrics);
    }

    /// <summary>Where the server listens.</summary>
    public Uri Address { get; private set; } = null!;

    /// <summary>Starts a server. Until it is stopped nobody else may use the model or its backend.</summary>
    /// <exception cref="IOException">The port is taken.</exception>
    public static async Task<InferenceServer> StartAsync(Mamba2Model model, Tokenizer tokenizer, ServerOptions options)
    {
        var server = new InferenceServer(model, tokenizer, options);
        try
        {
            await server.application.StartAsync();
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
        server.Address = new Uri(server.application.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
        return server;
    }

    /// <summary>Takes no more requests, lets those that run end within <see cref="ServerOptions.Grace"/>, then ends them, and stops.</summary>
    public async ValueTask DisposeAsync()
    {
        if (isDisposed)
            return;
        isDisposed = true;
        await Task.Run(() => engine.Close(options.Grace));
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        await application.StopAsync(patience.Token);
        await application.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        string path = context.Request.Path.Value ?? "/";
        try
        {
            await RouteAsync(context, path);
        }
        catch (RequestException fault) when (!context.Response.HasStarted)
        {
            await SendAsync(context, fault.Status, Answers.Error(fault));
        }
        catch (Microsoft.AspNetCore.Http.BadHttpRequestException fault) when (!context.Response.HasStarted)
        {
            string message = fault.StatusCode == StatusCodes.Status413PayloadTooLarge ? $"The body is larger than {options.MostBodyBytes} bytes." : fault.Message;
            await SendAsync(context, fault.StatusCode, Answers.Error(new RequestException(fault.StatusCode, message)));
        }
        catch (Exception fault) when (fault is OperationCanceledException or IOException)
        {
            // The client has gone.
            context.Abort();
        }
        finally
        {
            metrics.Answered(Known.Contains(path) ? path : "other", context.Response.StatusCode);
        }
    }

    private Task RouteAsync(HttpContext context, string path)
    {
        CheckHost(context);
        context.Response.Headers["X-Content-Type-Options"] = "nosniff";
        string method = context.Request.Method;
        if (!Known.Contains(path))
            throw new RequestException(404, $"There is nothing at {path}.");
        bool isPost = path is "/v1/completions" or "/v1/chat/completions";
        if (isPost ? method != "POST" : method is not ("GET" or "HEAD"))
        {
            context.Response.Headers.Allow = isPost ? "POST" : "GET, HEAD";
            throw new RequestException(405, $"{path} is asked with {(isPost ? "POST" : "GET")}.");
        }
        switch (path)
        {
            case "/":
                context.Response.Headers.ContentSecurityPolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";
                return SendAsync(context, 200, page, "text/html; charset=utf-8");
            case "/health":
                return engine.IsOpen ? SendAsync(context, 200, "{\"status\":\"ok\"}"u8.ToArray()) : SendAsync(context, 503, "{\"status\":\"stopping\"}"u8.ToArray());
        }
        CheckKey(context);
        return path switch
        {
            "/metrics" => SendAsync(context, 200, Encoding.UTF8.GetBytes(metrics.ToString()), "text/plain; version=0.0.4; charset=utf-8"),
            "/v1/models" => SendAsync(context, 200, Models()),
            _ => CompleteAsync(context, path == "/v1/chat/completions" ? chat : null),
        };
    }

    /// <summary>A page of another host must not reach a server on this machine by giving its own name this machine's address.</summary>
    private void CheckHost(HttpContext context)
    {
        if (IPAddress.IsLoopback(options.Address) && context.Request.Host.Host is not ("localhost" or "127.0.0.1" or "[::1]"))
            throw new RequestException(403, "This server answers to localhost only.");
    }

    private void CheckKey(HttpContext context)
    {
        if (key is null)
            return;
        string? given = context.Request.Headers.Authorization;
        const string Scheme = "Bearer ";
        bool isRight = given is not null && given.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase)
            // Of hashes, so that not even the length can be timed.
            && CryptographicOperations.FixedTimeEquals(SHA256.HashData(Encoding.UTF8.GetBytes(given[Scheme.Length..].Trim())), key);
        if (isRight)
            return;
        context.Response.Headers.WWWAuthenticate = "Bearer";
        throw new RequestException(401, "The API key is missing or wrong.", code: "invalid_api_key");
    }

    private byte[] Models() => Answers.Json(json =>
    {
        json.WriteStartObject();
        json.WriteString("object", "list");
        json.WriteStartArray("data");
        json.WriteStartObject();
        json.WriteString("id", options.ModelName);
        json.WriteString("object", "model");
        json.WriteNumber("created", 0);
        json.WriteString("owned_by", "scratchmamba");
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private async Task CompleteAsync(HttpContext context, ChatPrompt? format)
    {
        // Other types can be sent by a page of another host without being asked.
        if (!context.Request.HasJsonContentType())
            throw new RequestException(415, "The body must be of type application/json.");
        CompletionRequest request = CompletionRequest.Read(await ReadBodyAsync(context), format, options);
        if (request.Sampler.LogitBias.Keys.DefaultIfEmpty().Max() is var biased && biased >= vocabularySize)
            throw new RequestException(400, $"'logit_bias' has token {biased}, outside the vocabulary of {vocabularySize}.", "logit_bias");
        using var gone = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        Channel<Piece> pieces = Channel.CreateUnbounded<Piece>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
        var texts = new List<TextRequest>();
        foreach ((string? text, int[]? tokens) in request.Prompts)
        {
            int[] prompt = tokens ?? [.. tokenizer.PromptStart, .. tokenizer.Encode(Encoding.UTF8.GetBytes(text!))];
            CheckPrompt(prompt);
            texts.Add(new TextRequest(prompt, request.Sampler, request.Most, request.Stops, request.LogProbabilities, texts.Count * request.Choices, request.Choices, pieces.Writer, gone.Token));
        }
        if (!engine.TrySubmit(texts))
        {
            context.Response.Headers.RetryAfter = "1";
            throw engine.IsOpen
                ? new RequestException(429, "The queue is full; try again later.", type: "rate_limit_error", code: "queue_full")
                : new RequestException(503, "The server is stopping.", type: "server_error");
        }
        try
        {
            await AnswerAsync(context, request, texts, pieces.Reader, gone.Token);
        }
        finally
        {
            // Whatever is not finished is not wanted any more.
            await gone.CancelAsync();
        }
    }

    private void CheckPrompt(int[] prompt)
    {
        if (prompt.Length == 0)
            throw new RequestException(400, "The prompt is empty: a text needs at least one token before another can follow.", "prompt");
        if (prompt.Length > options.MostPromptTokens)
            throw new RequestException(400, $"The prompt has {prompt.Length} tokens; at most {options.MostPromptTokens} are read.", "prompt", code: "context_length_exceeded");
        if (Array.FindIndex(prompt, token => token >= vocabularySize) is >= 0 and int at)
            throw new RequestException(400, $"The prompt's token {prompt[at]} is outside the vocabulary of {vocabularySize}.", "prompt");
    }

    private async Task AnswerAsync(HttpContext context, CompletionRequest request, List<TextRequest> texts, ChannelReader<Piece> pieces, CancellationToken gone)
    {
        var answers = new Answers(request, tokenizer, options.ModelName, fingerprint);
        int promptTokens = texts.Sum(text => text.Prompt.Length), left = texts.Count * request.Choices, written = 0;
        var choices = new Answers.Choice[left];
        for (int index = 0; index < choices.Length; index++)
        {
            choices[index] = new Answers.Choice();
            if (request.Echoes)
                choices[index].Text.Append(Encoding.UTF8.GetString(tokenizer.Decode(texts[index / request.Choices].Prompt)));
        }
        var begun = new HashSet<int>();
        while (left > 0)
        {
            await pieces.WaitToReadAsync(gone);
            while (left > 0 && pieces.TryRead(out Piece piece))
            {
                if (piece.Fault is { } fault)
                {
                    var error = new RequestException(500, fault, type: "server_error");
                    if (!context.Response.HasStarted)
                        throw error;
                    await EventAsync(context, Answers.Error(error), gone);
                    return;
                }
                written += piece.Token is null ? 0 : 1;
                left -= piece.Finish is null ? 0 : 1;
                if (!request.Streams)
                {
                    Answers.Choice choice = choices[piece.Index];
                    choice.Text.Append(piece.Text);
                    choice.Pieces.Add(piece);
                    choice.Finish = piece.Finish ?? "";
                    continue;
                }
                if (begun.Add(piece.Index))
                {
                    BeginEvents(context);
                    if (request.IsChat)
                        await EventAsync(context, answers.Opening(piece.Index), gone);
                    else if (request.Echoes)
                        await EventAsync(context, answers.Next(new Piece(piece.Index, choices[piece.Index].Text.ToString(), null, null, null)), gone);
                }
                if (piece.Text.Length > 0 || piece.Finish is not null || piece.Probabilities is not null)
                    await EventAsync(context, answers.Next(piece), gone);
            }
            if (request.Streams)
                await context.Response.Body.FlushAsync(gone);
        }
        if (!request.Streams)
        {
            await SendAsync(context, 200, answers.Whole(choices, promptTokens));
            return;
        }
        if (request.IncludesUsage)
            await EventAsync(context, answers.Usage(promptTokens, written), gone);
        await EventAsync(context, "[DONE]"u8.ToArray(), gone);
    }

    private static void BeginEvents(HttpContext context)
    {
        if (context.Response.HasStarted)
            return;
        context.Response.ContentType = "text/event-stream; charset=utf-8";
        context.Response.Headers.CacheControl = "no-cache";
    }

    private static async Task EventAsync(HttpContext context, byte[] content, CancellationToken gone) =>
        await context.Response.BodyWriter.WriteAsync((byte[])[.. "data: "u8, .. content, .. "\n\n"u8], gone);

    private static async Task SendAsync(HttpContext context, int status, byte[] content, string type = "application/json")
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = type;
        context.Response.ContentLength = content.Length;
        if (context.Request.Method != "HEAD")
            await context.Response.Body.WriteAsync(content, context.RequestAborted);
    }

    private async Task<byte[]> ReadBodyAsync(HttpContext context)
    {
        if (context.Request.ContentLength > options.MostBodyBytes)
            throw new RequestException(413, $"The body has {context.Request.ContentLength} bytes; at most {options.MostBodyBytes} are read.");
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        return body.ToArray();
    }

    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
