namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Optimization => [];
}
