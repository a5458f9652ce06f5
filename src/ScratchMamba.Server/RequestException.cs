namespace ScratchMamba.Server;

/// <summary>A request that is not answered as it wishes: the status, and what OpenAI's protocol says beside the message.</summary>
internal sealed class RequestException(int status, string message, string? parameter = null, string type = "invalid_request_error", string? code = null) : Exception(message)
{
    public int Status => status;

    public string? Parameter => parameter;

    public string Type => type;

    public string? Code => code;
}
