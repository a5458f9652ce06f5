using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Server;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Server;

public sealed class ServerTests : IAsyncLifetime
{
    private static readonly ServerOptions Options = new() { ModelName = "small", Port = 0, Grace = TimeSpan.Zero };

    private readonly CpuBackend cpu = new(threads: 1);
    private readonly HttpClient client = new();
    private Mamba2Model model = null!;
    private InferenceServer server = null!;

    public async ValueTask InitializeAsync()
    {
        // With a few letters only, its text shows everywhere the same.
        model = new Mamba2Model(new Mamba2Config { VocabularySize = 256, Width = 16, Layers = 2, StateSize = 8, HeadSize = 8 }, cpu, seed: 3);
        await Start(Options);
    }

    public async ValueTask DisposeAsync()
    {
        await server.DisposeAsync();
        client.Dispose();
        cpu.Dispose();
    }

    private async Task Start(ServerOptions options)
    {
        if (server is not null)
            await server.DisposeAsync();
        server = await InferenceServer.StartAsync(model, new ByteTokenizer(), options);
    }

    [Fact]
    public async Task TheModelItsHealthAndItsNumbersAreTold()
    {
        Assert.Equal("small", (string?)JsonNode.Parse(await client.GetStringAsync(At("/v1/models")))!["data"]![0]!["id"]);
        Assert.Equal("{\"status\":\"ok\"}", await client.GetStringAsync(At("/health")));
        await Complete(new { prompt = "abc", max_tokens = 5 });
        string metrics = await client.GetStringAsync(At("/metrics"));
        foreach (string line in new[] { "scratchmamba_prompt_tokens_total 3", "scratchmamba_written_tokens_total 5", "scratchmamba_running_texts 0", "scratchmamba_requests_total{path=\"/v1/completions\",code=\"200\"} 1", "scratchmamba_step_seconds_count 4" })
            Assert.Contains(line + "\n", metrics, StringComparison.Ordinal);
        Assert.Contains("<textarea", await client.GetStringAsync(At("/")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task AGreedyTextIsTheOneThatTheGeneratorWrites()
    {
        await server.DisposeAsync();
        string expected = Greedy("once upon", 40);
        await Start(Options);
        JsonNode answer = await Complete(new { model = "small", prompt = "once upon", max_tokens = 40, temperature = 0 });
        Assert.Equal(expected, (string?)answer["choices"]![0]!["text"]);
        Assert.Equal("length", (string?)answer["choices"]![0]!["finish_reason"]);
        Assert.Equal((9, 40, 49), ((int)answer["usage"]!["prompt_tokens"]!, (int)answer["usage"]!["completion_tokens"]!, (int)answer["usage"]!["total_tokens"]!));
        Assert.Equal(expected, await Streamed(new { prompt = "once upon", max_tokens = 40, temperature = 0 }));
        // As tokens, and beside others in one request.
        Assert.Equal(expected, (string?)(await Complete(new { prompt = "once upon"u8.ToArray().Select(value => (int)value), max_tokens = 40, temperature = 0 }))["choices"]![0]!["text"]);
        JsonNode several = await Complete(new { prompt = new[] { "x", "once upon", "yy" }, max_tokens = 40, temperature = 0, echo = true });
        Assert.Equal(["0", "1", "2"], several["choices"]!.AsArray().Select(choice => choice!["index"]!.ToString()));
        Assert.Equal("once upon" + expected, (string?)several["choices"]![1]!["text"]);
    }

    [Fact]
    public async Task ClientsThatComeAndGoTogetherEachGetWhatTheyGetAlone()
    {
        object[] requests = [.. Enumerable.Range(0, 40).Select(i => (object)new { prompt = new string((char)('a' + i % 26), 1 + i * 7 % 60), max_tokens = 5 + i * 13 % 70, temperature = i % 3 == 0 ? 0.0 : 0.9, seed = i, presence_penalty = i % 4 * 0.1 })];
        var alone = new List<string>();
        foreach (object request in requests)
            alone.Add(await Streamed(request));
        Assert.Equal(alone, await Task.WhenAll(requests.Select(Streamed)));
        Assert.True(alone.Distinct().Count() > 30);
    }

    [Fact]
    public async Task ATextEndsBeforeAStopString()
    {
        string whole = (string)(await Complete(new { prompt = "once", max_tokens = 60, temperature = 0 }))["choices"]![0]!["text"]!;
        string stop = whole[20..23];
        string expected = whole[..whole.IndexOf(stop, StringComparison.Ordinal)];
        JsonNode answer = await Complete(new { prompt = "once", max_tokens = 60, temperature = 0, stop = new[] { stop, "\u0001never" } });
        Assert.Equal((expected, "stop"), ((string?)answer["choices"]![0]!["text"], (string?)answer["choices"]![0]!["finish_reason"]));
        Assert.Equal(expected, await Streamed(new { prompt = "once", max_tokens = 60, temperature = 0, stop }));
    }

    [Fact]
    public async Task ASeedGivesTheSameTextsAndEachChoiceItsOwn()
    {
        async Task<string[]> Texts(long? seed) => [.. (await Complete(new { prompt = "once", max_tokens = 30, n = 3, seed }))["choices"]!.AsArray().Select(choice => (string)choice!["text"]!)];
        string[] first = await Texts(-5);
        Assert.Equal(first, await Texts(-5));
        Assert.Equal(3, first.Distinct().Count());
        Assert.NotEqual(first, await Texts(6));
        Assert.NotEqual(await Texts(null), await Texts(null));
    }

    [Fact]
    public async Task LogarithmsOfProbabilitiesAreThoseOfTheModel()
    {
        JsonNode answer = await Complete(new { prompt = "once", max_tokens = 6, temperature = 0, logprobs = 20 });
        JsonNode told = answer["choices"]![0]!["logprobs"]!;
        Assert.Equal(6, told["tokens"]!.AsArray().Count);
        for (int i = 0; i < 6; i++)
        {
            double own = (double)told["token_logprobs"]![i]!;
            double[] top = [.. told["top_logprobs"]![i]!.AsObject().Select(pair => (double)pair.Value!)];
            // The greedy choice is the most probable one, and the others are listed from there down.
            Assert.Equal(own, top[0]);
            Assert.Equal(top.OrderDescending(), top);
            Assert.InRange(top.Sum(Math.Exp), 0.05, 1);
        }
        JsonNode chat = await Chat(new { messages = new[] { new { role = "user", content = "hi" } }, max_tokens = 4, logprobs = true, top_logprobs = 2, seed = 1 });
        JsonArray content = chat["choices"]![0]!["logprobs"]!["content"]!.AsArray();
        Assert.Equal(4, content.Count);
        Assert.All(content, entry => Assert.Equal(2, entry!["top_logprobs"]!.AsArray().Count));
        Assert.All(content, entry => Assert.Single(entry!["bytes"]!.AsArray()));
        // Every byte is a token, so that all probabilities can be asked for one by one.
        JsonNode forced = await Complete(new { prompt = "once", max_tokens = 1, logprobs = 0, logit_bias = new Dictionary<string, double> { ["65"] = 100 } });
        Assert.Equal("A", (string?)forced["choices"]![0]!["text"]);
    }

    [Fact]
    public async Task AChatIsStreamedAsItsPiecesAreNamed()
    {
        object request = new { messages = new object[] { new { role = "system", content = "Be brief." }, new { role = "user", content = new[] { new { type = "text", text = "hi" } } } }, max_tokens = 20, temperature = 0 };
        string whole = (string)(await Chat(request))["choices"]![0]!["message"]!["content"]!;
        JsonNode[] events = await Events("/v1/chat/completions", request, usage: true);
        Assert.Equal("assistant", (string?)events[0]["choices"]![0]!["delta"]!["role"]);
        Assert.All(events, part => Assert.Equal("chat.completion.chunk", (string?)part["object"]));
        Assert.Equal(whole, string.Concat(events.SelectMany(part => part["choices"]!.AsArray()).Select(choice => (string?)choice!["delta"]!["content"])));
        Assert.Equal("length", (string?)events[^2]["choices"]![0]!["finish_reason"]);
        Assert.Equal(20, (int)events[^1]["usage"]!["completion_tokens"]!);
        // Without a template it is text in which every line says who speaks.
        Assert.Equal(whole, (string?)(await Complete(new { prompt = "system: Be brief.\nuser: hi\nassistant:", max_tokens = 20, temperature = 0, stop = "\nuser:" }))["choices"]![0]!["text"]);
    }

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("[]", "must be a JSON object")]
    [InlineData("{}", "'prompt' is missing")]
    [InlineData("""{"prompt":""}""", "prompt is empty")]
    [InlineData("""{"prompt":[]}""", "'prompt' is empty")]
    [InlineData("""{"prompt":["a",3]}""", "'prompt[1]' must be a string; it is 3")]
    [InlineData("""{"prompt":[1,256]}""", "token 256 is outside the vocabulary of 256")]
    [InlineData("""{"prompt":[1,-1]}""", "'prompt[1]' must be a whole number from 0")]
    [InlineData("""{"prompt":"a","max_tokens":-1}""", "'max_tokens' must be a whole number from 1 to 4096; it is -1")]
    [InlineData("""{"prompt":"a","max_tokens":1e99}""", "'max_tokens' must be")]
    [InlineData("""{"prompt":"a","max_tokens":1000000000}""", "'max_tokens' must be")]
    [InlineData("""{"prompt":"a","n":99999999}""", "'n' must be a whole number from 1 to 16")]
    [InlineData("""{"prompt":["a","b","c"],"n":6}""", "more than the 16 texts")]
    [InlineData("""{"prompt":"a","temperature":-0.5}""", "'temperature' must be")]
    [InlineData("""{"prompt":"a","temperature":"hot"}""", "'temperature' must be a number from 0 to 100; it is \"hot\"")]
    [InlineData("""{"prompt":"a","top_p":0}""", "top-p must be above 0")]
    [InlineData("""{"prompt":"a","stop":["x",""]}""", "'stop' must be")]
    [InlineData("""{"prompt":"a","logit_bias":{"x":1}}""", "'logit_bias' must be")]
    [InlineData("""{"prompt":"a","logprobs":21}""", "'logprobs' must be")]
    [InlineData("""{"prompt":"a","stream":"yes"}""", "'stream' must be true or false")]
    [InlineData("""{"prompt":"a","tools":[{}]}""", "'tools' is not supported")]
    [InlineData("""{"prompt":"a","prompt":"b"}""", "not valid JSON")]
    [InlineData("""{"prompt":"\ud800"}""", "not valid Unicode")]
    [InlineData("""{"prompt":"a","logit_bias":{"999":1}}""", "token 999")]
    [InlineData("""{"prompt":"a","model":"large"}""", "no model 'large'", 404)]
    public async Task WhatMakesNoSenseIsRefusedInOneLine(string body, string message, int status = 400)
    {
        using HttpResponseMessage response = await Post("/v1/completions", body);
        Assert.Equal(status, (int)response.StatusCode);
        JsonNode error = JsonNode.Parse(await response.Content.ReadAsStringAsync())!["error"]!;
        Assert.Contains(message, (string)error["message"]!, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', (string)error["message"]!);
        // And the next one is answered.
        await Complete(new { prompt = "a", max_tokens = 1 });
    }

    [Theory]
    [InlineData("""{"messages":[]}""", "'messages' is empty")]
    [InlineData("""{"messages":[{"role":"user"}]}""", "'messages[0].content' is missing")]
    [InlineData("""{"messages":[{"content":"x"}]}""", "'messages[0].role' is missing")]
    [InlineData("""{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}""", "not a part of type 'text'")]
    [InlineData("""{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}""", "'response_format'")]
    public async Task AChatThatMakesNoSenseIsRefused(string body, string message)
    {
        using HttpResponseMessage response = await Post("/v1/chat/completions", body);
        Assert.Equal(400, (int)response.StatusCode);
        Assert.Contains(message, await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatIsNoRequestIsRefused()
    {
        async Task Refused(int status, HttpMethod method, string path, HttpContent? content = null, string? host = null)
        {
            using var request = new HttpRequestMessage(method, At(path)) { Content = content };
            request.Headers.Host = host;
            using HttpResponseMessage response = await client.SendAsync(request);
            Assert.Equal(status, (int)response.StatusCode);
            Assert.NotNull(JsonNode.Parse(await response.Content.ReadAsStringAsync())!["error"]!["message"]);
        }

        await Refused(404, HttpMethod.Get, "/v1/nothing");
        await Refused(405, HttpMethod.Get, "/v1/completions");
        await Refused(405, HttpMethod.Post, "/health");
        await Refused(415, HttpMethod.Post, "/v1/completions", new StringContent("{}", Encoding.UTF8, "text/plain"));
        await Refused(403, HttpMethod.Get, "/v1/models", host: "evil.example");
        await Refused(400, HttpMethod.Post, "/v1/completions", Json([.. "{\"prompt\":\""u8, 0xFF, .. "\"}"u8]));
        await Refused(413, HttpMethod.Post, "/v1/completions", Json(new byte[(1 << 20) + 1]));
        using var endless = new StreamContent(new MemoryStream(new byte[4 << 20])) { Headers = { ContentType = new MediaTypeHeaderValue("application/json"), ContentLength = null } };
        using var chunked = new HttpRequestMessage(HttpMethod.Post, At("/v1/completions")) { Content = endless };
        chunked.Headers.TransferEncodingChunked = true;
        // The answer may come before all has been sent, or the connection may be closed meanwhile.
        try
        {
            using HttpResponseMessage response = await client.SendAsync(chunked);
            Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
        }
        catch (HttpRequestException)
        {
        }
        await Complete(new { prompt = "a", max_tokens = 1 });
    }

    [Fact]
    public async Task OnlyTheKeyOpens()
    {
        await Start(Options with { ApiKey = "sesame" });
        async Task<int> Status(string path, string? given)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, At(path));
            if (given is not null)
                request.Headers.TryAddWithoutValidation("Authorization", given);
            using HttpResponseMessage response = await client.SendAsync(request);
            return (int)response.StatusCode;
        }

        Assert.Equal(200, await Status("/v1/models", "Bearer sesame"));
        foreach (string? wrong in new[] { null, "", "sesame", "Bearer ", "Bearer sesam", "Bearer sesamee", "Basic sesame" })
            Assert.Equal(401, await Status("/v1/models", wrong));
        Assert.Equal(401, await Status("/metrics", null));
        Assert.Equal(200, await Status("/health", null));
        Assert.Equal(200, await Status("/", null));
        using HttpResponseMessage refused = await Post("/v1/completions", """{"prompt":"a"}""");
        Assert.Equal(401, (int)refused.StatusCode);
    }

    [Fact]
    public async Task AClientThatLeavesFreesItsSlotAndAFullQueueIsSaid()
    {
        await Start(Options with { Slots = 1, Queue = 1, MostTokens = int.MaxValue });
        object endless = new { prompt = "a", max_tokens = int.MaxValue, stream = true };
        using var leaves = new CancellationTokenSource();
        using HttpResponseMessage first = await Begin(endless, leaves.Token);
        await first.Content.ReadAsStreamAsync(leaves.Token);
        Task<JsonNode> second = Complete(new { prompt = "b", max_tokens = 3 });
        await Until(async () => (await client.GetStringAsync(At("/metrics"))).Contains("scratchmamba_waiting_prompts 1\n", StringComparison.Ordinal));
        using HttpResponseMessage third = await Post("/v1/completions", """{"prompt":"c"}""");
        Assert.Equal(HttpStatusCode.TooManyRequests, third.StatusCode);
        Assert.Equal("1", third.Headers.RetryAfter!.ToString());
        Assert.False(second.IsCompleted);
        await leaves.CancelAsync();
        first.Dispose();
        Assert.Equal(3, (int)(await second)["usage"]!["completion_tokens"]!);
        Assert.Contains("scratchmamba_cancelled_texts_total 1\n", await client.GetStringAsync(At("/metrics")), StringComparison.Ordinal);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task StoppingFinishesOrEndsWhatRuns(bool finishes)
    {
        await Start(Options with { Grace = finishes ? TimeSpan.FromSeconds(60) : TimeSpan.Zero, MostTokens = int.MaxValue });
        using HttpResponseMessage response = await Begin(new { prompt = "a", max_tokens = finishes ? 300 : int.MaxValue, temperature = 0, stream = true }, CancellationToken.None);
        Task<string> text = response.Content.ReadAsStringAsync();
        await server.DisposeAsync();
        Assert.EndsWith(finishes ? "data: [DONE]\n\n" : "\"The server is stopping.\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n", await text, StringComparison.Ordinal);
        await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync(At("/health")));
    }

    [Fact]
    public async Task LogitsThatAreNoNumbersAreAnError()
    {
        await server.DisposeAsync();
        ScratchMamba.Tensors.Tensor norm = model.Parameters().Single(entry => entry.Path == "backbone.norm_f.weight").Parameter.Value;
        norm.Write<float>(Enumerable.Repeat(float.NaN, 16).ToArray());
        await Start(Options);
        using HttpResponseMessage response = await Post("/v1/completions", """{"prompt":"a"}""");
        Assert.Equal(500, (int)response.StatusCode);
        Assert.Contains("not a number", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    private string Greedy(string prompt, int count)
    {
        int[] tokens = [.. new Generator(model, Sampler.Greedy).Continue(new ByteTokenizer().Encode(Encoding.UTF8.GetBytes(prompt)), count)];
        return Encoding.UTF8.GetString(new ByteTokenizer().Decode(tokens));
    }

    private Uri At(string path) => new(server.Address, path);

    private static ByteArrayContent Json(byte[] body) => new(body) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } };

    private Task<HttpResponseMessage> Post(string path, string body) => client.PostAsync(At(path), Json(Encoding.UTF8.GetBytes(body)));

    private async Task<HttpResponseMessage> Begin(object request, CancellationToken cancellation)
    {
        using var message = new HttpRequestMessage(HttpMethod.Post, At("/v1/completions")) { Content = Json(JsonSerializer.SerializeToUtf8Bytes(request)) };
        return await client.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, cancellation);
    }

    private Task<JsonNode> Complete(object request) => Answer("/v1/completions", request);

    private Task<JsonNode> Chat(object request) => Answer("/v1/chat/completions", request);

    private async Task<JsonNode> Answer(string path, object request)
    {
        using HttpResponseMessage response = await Post(path, JsonSerializer.Serialize(request));
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonNode.Parse(text)!;
    }

    private async Task<string> Streamed(object request) =>
        string.Concat((await Events("/v1/completions", request)).SelectMany(part => part["choices"]!.AsArray()).Select(choice => (string?)choice!["text"]));

    private async Task<JsonNode[]> Events(string path, object request, bool usage = false)
    {
        JsonNode body = JsonSerializer.SerializeToNode(request)!;
        body["stream"] = true;
        if (usage)
            body["stream_options"] = new JsonObject { ["include_usage"] = true };
        using HttpResponseMessage response = await Post(path, body.ToJsonString());
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        string[] events = text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("data: [DONE]", events[^1]);
        return [.. events[..^1].Select(part => JsonNode.Parse(part["data: ".Length..])!)];
    }

    private static async Task Until(Func<Task<bool>> holds)
    {
        while (!await holds())
            await Task.Delay(5);
    }
}
